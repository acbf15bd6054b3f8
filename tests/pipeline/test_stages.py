"""Which stages cells need, which of them they share, and what their keys follow from."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import prunebench.pipeline.stage
from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Scores
from prunebench.parts.base import Backbone, Labeler, Scorer, Selector
from prunebench.parts.dataset import View
from prunebench.parts.identity import without_paths
from prunebench.parts.method import Method
from prunebench.pipeline import jobs, schedule, stages
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.job import Input
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage, torch_major
from prunebench.pipeline.stages.scores import ScorerScores
from prunebench.pipeline.store import Store
from prunebench.pipeline.store import key as store_key
from prunebench.suites.schema import RUNGS
from prunebench.system.sealed_json import canonical
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top


def test_only_what_asks_for_the_device_is_on_it(matrix):
    """Then gpu_seconds count the seconds of a GPU alone."""
    planned = matrix("semi_aum", device="cuda")
    on_gpu = {stage.kind for stage in planned.graph.stages.values() if planned.device_of(stage) == "cuda"}
    assert on_gpu == {"labels", "dynamics", "accuracy"}
    assert {planned.job(stage).device for stage in planned.graph.stages.values()} == {"cpu", "cuda"}


UPSTREAM = {"known_labels", "labels", "dynamics", "scores"}


@dataclass(frozen=True, kw_only=True)
class Near(Scorer):
    name = "near"
    backbone: str | Backbone | tuple[str | Backbone, ...] = "pixels"

    def score(self, embeddings): ...


@dataclass(frozen=True, kw_only=True)
class Lowest(Selector):
    """A selection that draws nothing at random."""

    name = "lowest"

    def select(self, scores, keep): ...


@dataclass(frozen=True, kw_only=True)
class Guess(Labeler):
    name = "guess"
    label_fraction: float = 0.1

    def label(self, known_labels, rng): ...


@dataclass(frozen=True, kw_only=True)
class Power(Scorer):
    name = "power"
    power: float = 2.0

    def score(self, labels): ...


GUESSED = Method("guessed", title="G", labeler=Guess(), scorer=Aum(), selector=Top())
LOWEST = Method("lowest", title="L", labeler=Guess(), scorer=Aum(), selector=Lowest())


def keys(matrix, *kinds):
    return {key for key, stage in matrix.graph.stages.items() if not kinds or stage.kind in kinds}


def count(matrix):
    return dict(Counter(stage.kind for stage in matrix.graph.stages.values()))


def target(matrix):
    return next(iter(matrix.graph.targets.values()))


# Keys


def test_a_key_is_that_of_what_the_stage_is_and_reads(matrix):
    built = matrix(GUESSED, "dual", "random", ratios=[30, 90], seeds=[0, 1], tuning="search").graph.stages
    for key, stage in built.items():
        inputs = sorted([[given.name, given.of, given.source.key] for given in stage.inputs], key=canonical)
        given = {"inputs": inputs, "dataset": stage.root, "torch": torch_major()}
        assert key == store_key(stage.kind, stage.version, without_paths(stage.identity), given)


def test_keys_do_not_depend_on_what_else_is_run(matrix, offer):
    """1 and 1.0 are equal in Python, and two keys."""
    offer(Power)
    one, other = (
        Method(name, title=name, labeler=GroundTruth(), scorer=Power(power=value), selector=Top())
        for name, value in (("one", 1), ("other", 1.0))
    )
    alone = keys(matrix(one)) | keys(matrix(other))
    assert keys(matrix(one, other)) == keys(matrix(other, one)) == alone
    assert len(keys(matrix(one), "scores") | keys(matrix(other), "scores")) == 2


# Sharing


def test_the_stages_of_one_cell(matrix):
    assert count(matrix(GUESSED)) == dict.fromkeys([*UPSTREAM, "quality", "subset", "accuracy"], 1)
    assert count(matrix("random")) == {"subset": 1, "accuracy": 1}


def test_methods_share_everything_up_to_what_differs(matrix):
    assert count(matrix("aum_supervised", "el2n_supervised", "forgetting_supervised")) == {
        "known_labels": 1,
        "labels": 1,
        "dynamics": 1,
        "scores": 3,
        "subset": 3,
        "accuracy": 3,
    }


def test_another_ratio_adds_a_subset_and_a_training(matrix):
    one, two = keys(matrix(GUESSED, ratios=[30])), keys(matrix(GUESSED, ratios=[30, 50]))
    assert one < two and len(two - one) == 2


def test_a_scorer_on_the_same_labels_adds_no_training_but_the_last(matrix):
    both, one = matrix(GUESSED, LOWEST), matrix(GUESSED)
    more = [stage.kind for key, stage in both.graph.stages.items() if key not in keys(one)]
    assert sorted(more) == ["accuracy", "subset"]


# Seeds


def test_a_seed_repeats_the_whole_pipeline(matrix):
    found = count(matrix(GUESSED, seeds=[0, 1, 2]))
    assert found == dict.fromkeys([*UPSTREAM, "quality", "subset", "accuracy"], 3)


def test_or_selection_and_training_alone(matrix):
    found = count(matrix(GUESSED, seeds=[0, 1, 2], repeats="training"))
    assert found == dict.fromkeys([*UPSTREAM, "quality"], 1) | {"subset": 3, "accuracy": 3}


@pytest.mark.parametrize(
    ("rung", "shared"), [("labeler", ["known_labels"]), ("proxy", ["known_labels", "labels", "quality"])]
)
def test_or_a_rung_and_all_after_it(matrix, rung, shared):
    found = count(matrix(GUESSED, seeds=[0, 1, 2], repeats=rung))
    own = {*UPSTREAM, "quality", "subset", "accuracy"} - {*shared}
    assert found == dict.fromkeys(shared, 1) | dict.fromkeys(own, 3)


def test_rungs_share_the_stages_of_their_first_seed(matrix):
    """Nested runs differ in what they repeat, and so seed 0 is one run of all."""
    found = [keys(matrix(GUESSED, repeats=rung)) for rung in RUNGS]
    assert len(set(map(frozenset, found))) == 1


def test_a_seed_enters_where_it_is_used_alone(matrix):
    found = count(matrix(LOWEST, seeds=[0, 1, 2], repeats="training"))
    assert found == dict.fromkeys([*UPSTREAM, "quality"], 1) | {"subset": 1, "accuracy": 3}


@pytest.mark.parametrize(("label_fraction", "draws"), [(0, 1), (0.1, 3), (1, 1)])
def test_buying_all_labels_or_none_takes_no_luck(matrix, label_fraction, draws):
    method = Method(
        "m", title="M", labeler=GroundTruth(label_fraction=label_fraction), selector=Random(per_class=True)
    )
    assert count(matrix(method, seeds=[0, 1, 2]))["known_labels"] == draws


def test_a_stream_does_not_depend_on_the_method(matrix):
    """So that methods are compared with common random numbers."""
    found = matrix("random", "random_twin", GUESSED, ratios=[30, 50])
    streams = {stage.kind: stage.identity.get("seed") for stage in found.graph.stages.values()}
    assert streams["subset"] == [0, "subset", 0]
    assert streams["accuracy"] == [0, "accuracy", 0]


# Embeddings


def test_embeddings_are_an_artefact_of_each_backbone(matrix, offer):
    one = Method("one", title="1", scorer=Near(), selector=Top())
    both = Method("both", title="2", scorer=Near(backbone=(Pixels(), Pixels(components=2))), selector=Top())
    found = matrix(one, both)
    assert count(found)["embeddings"] == 2
    scores = target(found).source("subset").source("scores")
    assert [(given.name, given.of) for given in scores.inputs] == [("embeddings", 0)]


def test_the_backbone_proxy_is_the_network_of_the_dynamics(matrix, offer):
    offer(Near)
    method = Method("m", title="M", labeler=GroundTruth(), scorer=Near(backbone="proxy"), selector=Top())
    found = matrix(method, "el2n_supervised")
    embeddings = target(found).source("subset").source("scores").source("embeddings")
    assert [given.name for given in embeddings.inputs] == ["weights"]
    assert count(found)["dynamics"] == 1


def test_a_backbone_by_name_is_the_backbone(matrix, offer):
    offer(Near)
    named = matrix(Method("m", title="M", scorer=Near(backbone="pixels"), selector=Top()))
    held = matrix(Method("m", title="M", scorer=Near(backbone=Pixels()), selector=Top()))
    assert keys(named) == keys(held)


# Random with as many labels


def test_random_matched_waits_for_the_other_methods_subset(matrix):
    found = matrix(GUESSED, references=["random_matched"])
    subsets = {cell.method.name: stage.source("subset") for cell, stage in found.graph.targets.items()}
    matched, other = subsets["random_matched{guessed}"], subsets["guessed"]
    assert matched.source("matched_to") is other
    assert matched.source("annotated") is other.source("scores").source("dynamics").source("labels").source(
        "known_labels"
    )


# What keys follow from


def test_device_store_and_data_folder_do_not_matter(matrix, tmp_path):
    here = matrix(GUESSED)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "toy.npy").write_bytes((tmp_path / "data" / "toy.npy").read_bytes())
    there = Matrix(here.cells, Store(tmp_path / "other"), tmp_path / "elsewhere", "cuda")
    assert keys(here) == keys(there)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"guess.label_fraction": 0.2}, {*UPSTREAM, "quality", "subset", "accuracy"}),
        ({"recipe.epochs": 7}, {"dynamics", "scores", "subset", "accuracy"}),
        ({"top.per_class": True}, {"subset", "accuracy"}),
    ],
)
def test_a_change_makes_anew_what_follows_from_it(matrix, change, changed):
    before = keys(matrix(GUESSED))
    after = matrix(GUESSED, changes=change).graph.stages
    assert {stage.kind for key, stage in after.items() if key not in before} == changed


def test_a_new_version_of_a_stage_makes_anew_what_follows(matrix, monkeypatch):
    before = keys(matrix(GUESSED))
    monkeypatch.setattr(ScorerScores, "version", 2)
    after = matrix(GUESSED).graph.stages
    assert {stage.kind for key, stage in after.items() if key not in before} == {
        "scores",
        "subset",
        "accuracy",
    }


def test_a_new_version_of_a_part_makes_anew_what_follows(matrix, monkeypatch):
    before = keys(matrix(GUESSED))
    monkeypatch.setattr(Aum, "version", 2)
    after = matrix(GUESSED).graph.stages
    assert {stage.kind for key, stage in after.items() if key not in before} == {
        "scores",
        "subset",
        "accuracy",
    }


def test_the_next_torch_makes_everything_anew_and_its_patches_nothing(matrix, monkeypatch):
    def keys_with(version):
        monkeypatch.setattr(prunebench.pipeline.stage.metadata, "version", lambda _package: version)
        torch_major.cache_clear()
        return keys(matrix(GUESSED))

    older, patched, newer = map(keys_with, ("2.15.0", "2.16.1+cu130", "3.0.0"))
    torch_major.cache_clear()
    assert older == patched and not older & newer


# Datasets


def test_a_datasets_key_follows_every_byte(toy, tmp_path, store):
    path = tmp_path / "data" / "toy.npy"
    before = dataset_key(toy, tmp_path / "data", store)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert dataset_key(toy, tmp_path / "data", store) != before
    content[-1] ^= 1
    path.write_bytes(content)
    assert dataset_key(toy, tmp_path / "data", store) == before


def test_a_datasets_key_is_remembered(toy, tmp_path, store, monkeypatch):
    before = dataset_key(toy, tmp_path / "data", store)
    monkeypatch.setattr(type(toy), "load", None)
    assert dataset_key(toy, tmp_path / "data", store) == before


def test_the_names_of_the_classes_belong_to_the_data(toy, tmp_path, store, monkeypatch):
    before = dataset_key(toy, tmp_path / "data", store)
    monkeypatch.setattr(type(toy), "classes", ("a", "b", "c", "e"))
    assert dataset_key(toy, tmp_path / "data", Store(tmp_path / "other")) != before


def test_the_names_of_the_images_belong_to_the_data_of_which_they_have_some(toy, tmp_path, monkeypatch):
    """A part that is asked for images by name computes something else where these change."""

    def key(*names):
        monkeypatch.setattr(type(toy), "names", lambda self, root: names)
        return dataset_key(toy, tmp_path / "data", Store(tmp_path / "-".join(("store", *names))))

    assert len({key(), key("a", "b"), key("b", "a"), key("ab")}) == 4
    content = b'["a","b","c","d"]'
    for split, images in (("train", 64), ("test", 32)):
        pictures, labels = toy.load(tmp_path / "data", split)
        content += b'[[%d,1,8,8],"uint8"]' % images + pictures.tobytes()
        content += b'[[%d],"int64"]' % images + labels.tobytes()
    assert key() == hashlib.sha256(content).hexdigest()  # as it was before images could have names


def test_absent_data_has_a_key_that_nothing_stored_matches(matrix, make, tmp_path):
    make(matrix("random"))
    (tmp_path / "data" / "toy.npy").unlink()
    absent = matrix("random")
    assert target(absent).root == "absent:toy"
    assert len(absent.missing()) == 2


@dataclass(frozen=True, kw_only=True)
class Thinned(View):
    version: ClassVar[int] = 1
    step: int = 2

    def alter(self, images, labels):
        return images[:: self.step], labels[:: self.step]


def test_a_views_key_follows_its_base_and_its_fields_not_its_name(toy, tmp_path, store, monkeypatch):
    def key(**fields):
        return dataset_key(Thinned(**{"name": "thin", "base": toy} | fields), tmp_path / "data", store)

    before = key()
    assert before != dataset_key(toy, tmp_path / "data", store)
    assert key(name="other") == before
    assert key(step=4) != before
    monkeypatch.setattr(Thinned, "version", 2)
    assert key() != before
    monkeypatch.undo()
    np.save(tmp_path / "data" / "toy.npy", np.zeros((96, 1, 8, 8), np.uint8))
    assert key() != before
    (tmp_path / "data" / "toy.npy").unlink()
    assert key() == "absent:thin"


def test_two_views_of_one_name_and_fields_but_another_class_differ(toy, tmp_path, store):
    @dataclass(frozen=True, kw_only=True)
    class Reversed(Thinned): ...

    views = [cls(name="thin", base=toy) for cls in (Thinned, Reversed)]
    assert len({dataset_key(view, tmp_path / "data", store) for view in views}) == 2


def test_a_stage_is_named_after_its_part_and_the_fields_that_are_not_at_their_default(matrix):
    found = matrix(GUESSED, changes={"aum.margin": "logit"})
    titles = [stage.title for stage in target(found).ancestors()]
    assert titles == [
        "10% of the labels, uniform",
        "guess",
        "cnn, 4 epochs",
        "aum(margin=logit)",
        "top",
        "cnn, 4 epochs",
    ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Halves(Stage):
    """A stage that nobody else knows: halves scores."""

    kind: ClassVar[str] = "halves"

    by: int = 2

    def compute(self, context):
        scores = context.read(self.named("scores")[0], Scores)
        return (Scores(values=scores.values / self.by),)


def test_a_new_stage_is_a_class_and_an_entry_in_the_list(matrix, make, store, monkeypatch):
    monkeypatch.setattr(stages, "STAGES", [*stages.STAGES, Halves])
    monkeypatch.setattr(jobs, "STAGES", stages.STAGES)
    found = matrix("el2n_supervised")
    make(found)
    (cell,) = found.cells
    scores = target(found).source("subset").source("scores")
    halves = found.graph.plan.add(Halves, cell, (Input("scores", scores),), by=4)
    inline = InlineExecutor(lambda *_progress: None)
    outcome = schedule.walk({halves.key: halves}, store, inline, found.job, lambda _stage: None)
    assert outcome.failures == {}
    read = [store.read(stage.key, Scores).values for stage in (scores, halves)]
    np.testing.assert_array_equal(read[0], 4 * read[1])
    assert halves.key != found.graph.plan.add(Halves, cell, (Input("scores", scores),)).key


def test_equal_cells_are_one(matrix):
    cell = matrix("random").cells[0]
    assert cell == replace(cell) and hash(cell) == hash(replace(cell))


def test_files_that_change_while_they_are_read_are_not_remembered(toy, tmp_path, store, monkeypatch):
    """Else the new content would be known under the old files' size and time, or the other way round."""
    load, path = type(toy).load, tmp_path / "data" / "toy.npy"

    def touching(self, root, split):
        os.utime(path, ns=(0, len(split)))
        return load(self, root, split)

    monkeypatch.setattr(type(toy), "load", touching)
    with pytest.raises(PrunebenchError, match="files of dataset toy changed while they were read"):
        dataset_key(toy, tmp_path / "data", store)
    assert not (store.root / "datasets").exists()
