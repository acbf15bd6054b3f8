"""What a stage may reach for, what a part must return, and what the rows say about labels."""

import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.nn import training
from prunebench.parts import conformance, work
from prunebench.parts.artefacts import Dynamics, Labels, PseudoLabels, Scores, Subset
from prunebench.parts.base import Backbone, Labeler, Scorer, Selector
from prunebench.parts.method import Method
from prunebench.pipeline import context, jobs
from prunebench.pipeline.context import Context
from prunebench.pipeline.store import Store
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top

CASES = {
    "short": lambda right: right[:-1],
    "twice": lambda right: right[[0, 0, *range(2, len(right))]],
    "too large": lambda right: np.where(right == right[0], 64, right),
    "negative": lambda right: np.where(right == right[0], -5, right),
    "matrix": lambda right: right[:, None],
    "half": lambda right: right + 0.5,
    "nan": lambda right: np.where(right == right[0], np.nan, right),
    "vast": lambda right: np.where(right == right[0], 1e39, right),
    "text": lambda right: np.array(["a"] * len(right)),
    "mask": lambda right: np.arange(64) < 32,
    "none": lambda right: None,
}


@dataclass(frozen=True, kw_only=True)
class Faulty(Selector):
    name = "faulty"
    fault: str

    def select(self, images, keep):
        return CASES[self.fault](np.arange(len(images))[:keep])


@dataclass(frozen=True, kw_only=True)
class Misjudging(Scorer):
    name = "misjudging"
    fault: str

    def score(self, images):
        return CASES[self.fault](np.arange(len(images)))


@dataclass(frozen=True, kw_only=True)
class Mislabeling(Labeler):
    name = "mislabeling"
    fault: str

    def label(self, images):
        return CASES[self.fault](np.arange(len(images)) % 4)


@dataclass(frozen=True, kw_only=True)
class Blurred(Backbone):
    name = "blurred"
    fault: str

    def embed(self, images):
        return CASES[self.fault](images.array.reshape(len(images), -1) / 255)


@dataclass(frozen=True, kw_only=True)
class Near(Scorer):
    name = "near"
    backbone: str | Backbone | tuple[str | Backbone, ...] = "pixels"

    def score(self, embeddings):
        return embeddings[:, 0]


# Contracts


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "returned 31 distinct indices, expected 32"),
        ("twice", "returned 31 distinct indices, expected 32"),
        ("too large", "must return indices in 0..63, got int64 [32] in 1..64"),
        ("negative", "must return indices in 0..63, got int64 [32] in -5..31"),
        ("matrix", "must return indices in 0..63, got int64 [32, 1] in 0..31"),
        ("half", "must return indices in 0..63, got float64 [32] in 0.5..31.5"),
        ("mask", "must return indices in 0..63, got bool [64]"),
        ("none", "must return indices in 0..63, got object []"),
    ],
)
def test_a_selector_returns_exactly_keep_unique_indices(matrix, make, offer, fault, reason):
    offer(Faulty)
    failures = make(matrix(Method("m", title="M", selector=Faulty(fault=fault)))).failures
    assert failures == {
        "m toy 50% seed 0": f"selector 'faulty' of stranger {reason} (toy). This is a bug in {__name__}."
    }


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "returned scores of shape (63,), expected [64]"),
        ("matrix", "returned scores of shape (64, 1), expected [64]"),
        ("nan", "returned 1 scores that are not finite"),
        ("none", "returned scores that are not numbers"),
        ("text", "returned scores that are not numbers"),
    ],
)
def test_a_scorer_returns_a_finite_number_for_each_image(matrix, make, offer, fault, reason):
    offer(Misjudging)
    method = Method("m", title="M", scorer=Misjudging(fault=fault), selector=Top())
    assert make(matrix(method)).failures == {
        "m toy 50% seed 0": f"scorer 'misjudging' of stranger {reason} (toy). This is a bug in {__name__}."
    }


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "returned int64 labels of shape (63,), expected int [64]"),
        ("matrix", "returned int64 labels of shape (64, 1), expected int [64]"),
        ("half", "returned float64 labels of shape (64,), expected int [64]"),
        ("none", "returned object labels of shape (), expected int [64]"),
        ("too large", "returned labels outside -1..3"),
        ("negative", "returned labels outside -1..3"),
    ],
)
def test_a_labeler_returns_a_class_for_each_image(matrix, make, offer, fault, reason):
    offer(Mislabeling)
    method = Method("m", title="M", labeler=Mislabeling(fault=fault), selector=Random(per_class=True))
    assert make(matrix(method)).failures == {
        "m toy 50% seed 0": f"labeler 'mislabeling' of stranger {reason} (toy). This is a bug in {__name__}."
    }


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "returned embeddings of shape (63, 64), expected [64, d]"),
        ("nan", "returned embeddings that are not finite in float32"),
        ("vast", "returned embeddings that are not finite in float32"),
    ],
)
def test_a_backbone_returns_a_finite_vector_for_each_image(matrix, make, offer, fault, reason):
    offer(Blurred, Near)
    method = Method("m", title="M", scorer=Near(backbone=Blurred(fault=fault)), selector=Top())
    assert make(matrix(method)).failures == {
        "m toy 50% seed 0": f"backbone 'blurred' of stranger {reason} (toy). This is a bug in {__name__}."
    }


def test_a_labeler_may_say_more_than_numbers(matrix, make, offer, store):
    @dataclass(frozen=True, kw_only=True)
    class Sure(Labeler):
        name = "sure"
        label_fraction: float = 0.5

        def label(self, known_labels):
            return PseudoLabels(
                values=np.maximum(known_labels, 0), confidences=np.full(len(known_labels), 0.5)
            )

    offer(Sure)
    made = make(matrix(Method("m", title="M", labeler=Sure(), selector=Random(per_class=True)))).stages
    labels = store.read(next(stage.key for stage in made if stage.kind == "labels"), Labels)
    assert labels.annotated.sum() == 32
    assert labels.confidences.tolist() == [0.5] * 64


def test_no_label_at_all_trains_no_proxy(matrix, make):
    method = Method("m", title="M", labeler=NoLabeler(), scorer=El2n(), selector=Top())
    assert (
        make(matrix(method))
        .failures["m toy 50% seed 0"]
        .startswith(
            "no image of toy has a label, so no proxy network can train; choose a labeler with labels"
        )
    )


# What parts are given


def test_inputs_are_read_only_and_as_the_contract_says(matrix, make, offer):
    seen = {}

    @dataclass(frozen=True, kw_only=True)
    class Curious(Selector):
        name = "curious"
        backbone: tuple[str | Backbone, ...] = ("pixels", "proxy")

        def select(
            self,
            images,
            classes,
            recipe,
            rng,
            device,
            embeddings,
            labels,
            dynamics,
            scores,
            keep,
            known_labels,
        ):
            seen.update(locals())
            return np.arange(keep)

    offer(Curious)
    method = Method(
        "m", title="M", labeler=GroundTruth(label_fraction=0.5), scorer=El2n(), selector=Curious()
    )
    assert make(matrix(method)).failures == {}
    assert (len(seen["images"]), seen["classes"], seen["keep"]) == (64, ("a", "b", "c", "d"), 32)
    assert (seen["recipe"].epochs, seen["device"]) == (4, "cpu")
    assert seen["embeddings"].shape == (64, 64 + 64)  # 8 x 8 pixels, then the features of the small CNN
    assert seen["labels"].shape == seen["known_labels"].shape == seen["scores"].shape == (64,)
    assert isinstance(seen["dynamics"], Dynamics) and seen["dynamics"].epochs == 4
    for name in ("embeddings", "labels", "scores", "known_labels"):
        assert not seen[name].flags.writeable, name
    assert not seen["images"].array.flags.writeable


def test_the_fingerprint_is_the_key_of_the_dataset_and_most_images_have_no_names(matrix, make, offer):
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Curious(Scorer):
        name = "curious"

        def score(self, images, names, fingerprint):
            seen.append((names, fingerprint))
            return np.arange(float(len(images)))

    offer(Curious)
    made = matrix(Method("m", title="M", scorer=Curious(), selector=Top()))
    assert make(made).failures == {}
    assert seen == [((), made.graph.roots["toy"])]


@pytest.mark.parametrize("named", [False, True])
def test_names_are_sliced_as_all_else_is(matrix, make, offer, toy, monkeypatch, named):
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Curious(Selector):
        name = "curious"
        per_class: bool = True

        def select(self, images, names, keep):
            seen.append(names)
            return np.arange(keep)

    offer(Curious)
    if named:
        monkeypatch.setattr(type(toy), "names", lambda self, root: tuple(f"{i}.png" for i in range(64)))
    method = Method("m", title="M", labeler=GroundTruth(), selector=Curious())
    assert make(matrix(method)).failures == {}
    assert seen == [tuple(f"{i}.png" for i in range(first, 64, 4)) if named else () for first in range(4)]


def test_names_are_asked_for_once(toy, monkeypatch):
    """A dataset of a million files lists them each time."""
    asked = []

    def names(self, root):
        asked.append(1)
        return tuple(f"{i}.png" for i in range(64))

    monkeypatch.setattr(type(toy), "names", names)
    job = SimpleNamespace(key="", root="", device="cpu", data=".", dataset=None, rank=0)
    monkeypatch.setattr(Context, "dataset", toy)
    monkeypatch.setattr(Context, "images", range(64))
    given = Context(job, None, None)
    assert given.names is given.names and len(given.names) == 64
    assert asked == [1]


def test_as_many_names_as_images(matrix, make, offer, toy, monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Curious(Selector):
        name = "curious"

        def select(self, images, names, keep):
            return np.arange(keep)

    offer(Curious)
    monkeypatch.setattr(type(toy), "names", lambda self, root: ("a", "b"))
    failures = make(matrix(Method("m", title="M", selector=Curious()))).failures
    assert failures == {"m toy 50% seed 0": "dataset toy: 64 images but 2 names"}


def test_an_optional_input_is_left_out_where_nobody_supplies_it(matrix, make, offer):
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Modest(Selector):
        name = "modest"

        def select(self, images, keep, labels=None, scores=None, known_labels=None):
            seen.append((labels, scores, known_labels))
            return np.arange(keep)

    offer(Modest)
    make(matrix(Method("m", title="M", selector=Modest())))
    assert seen == [(None, None, None)]


def test_images_that_no_network_saw_get_the_mean_score(matrix, make, offer, store):
    @dataclass(frozen=True, kw_only=True)
    class Place(Scorer):
        name = "place"

        def score(self, dynamics):
            return dynamics.index.astype(float)

    offer(Place)
    method = Method("m", title="M", labeler=NoLabeler(label_fraction=0.5), scorer=Place(), selector=Top())
    made = {stage.kind: stage.key for stage in make(matrix(method)).stages}
    annotated = np.flatnonzero(store.read(made["known_labels"], Labels).annotated)
    scores = store.read(made["scores"], Scores).values
    assert scores[annotated].tolist() == annotated.tolist()
    assert set(np.delete(scores, annotated)) == {annotated.mean()}


def test_a_part_remembers_where_it_stopped(matrix, make, offer):
    """A stage that fails finds its checkpoint when it is tried again."""

    @dataclass(frozen=True, kw_only=True)
    class Long(Scorer):
        name = "long"

        def score(self, images, checkpoint):
            state = checkpoint.load()
            if state is None:
                checkpoint.save({"values": np.arange(64.0)})
                raise RuntimeError("out of patience")
            return state["values"]

    offer(Long)
    method = Method("m", title="M", scorer=Long(), selector=Top())
    assert make(matrix(method)).failures == {"m toy 50% seed 0": "RuntimeError: out of patience"}
    assert make(matrix(method)).failures == {}


def test_an_edit_during_a_run_is_not_stored_under_the_key_of_the_code_before(matrix, offer):
    offer(Near)
    planned = matrix(Method("m", title="M", scorer=Near(), selector=Top()))
    stage = next(stage for stage in planned.graph.stages.values() if stage.kind == "scores")
    stage.identity["part"]["code"] = ["the code before"]
    with pytest.raises(PrunebenchError, match="the code of 'near' changed during the run"):
        jobs.run(planned.job(stage), lambda done, total: None)


# Selection


@pytest.mark.parametrize(("ratio", "kept"), [(0, 64), (50, 32), (75, 16), (90, 6), (99, 0)])
def test_per_class_shares_exactly_by_label(matrix, offer, store, make, ratio, kept):
    @dataclass(frozen=True, kw_only=True)
    class Hardest(Selector):
        name = "hardest"
        per_class: bool = True

        def select(self, scores, keep):
            return np.argsort(-scores)[:keep]

    @dataclass(frozen=True, kw_only=True)
    class Later(Scorer):
        name = "later"

        def score(self, images):
            return np.arange(float(len(images)))

    offer(Hardest, Later)
    method = Method("m", title="M", labeler=GroundTruth(), scorer=Later(), selector=Hardest())
    made = matrix(method, ratios=[ratio])
    subset = next(stage for stage in made.graph.stages.values() if stage.kind == "subset")
    make(made)
    index = store.read(subset.key, Subset).index
    assert (
        index.tolist()
        == {
            0: list(range(64)),
            50: list(range(32, 64)),
            75: list(range(48, 64)),
            90: [56, 57, 60, 61, 62, 63],  # 6 of 4 classes: the first two have one more
            99: [],
        }[ratio]
    )
    assert len(index) == kept


def test_random_matched_keeps_as_many_as_were_annotated_and_kept(matrix, make):
    method = Method("few", title="F", labeler=NoLabeler(label_fraction=0.25), selector=Random(per_class=True))
    rows = {row.method: row for row in make(matrix(method, references=["random_matched"])).rows}
    assert rows["few"].labels_selection == 16
    assert rows["few"].labels_training == 32
    assert 32 <= rows["few"].labels_total <= 48
    matched = rows["random_matched{few}"]
    assert matched.kept == matched.labels_total == rows["few"].labels_total
    assert matched.labels_selection == 0


# The label ledger


@pytest.mark.parametrize("label_fraction", [0.0, 0.1, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("sampling", ["uniform", "stratified"])
def test_a_labeler_sees_its_annotated_labels_and_not_one_more(matrix, make, offer, label_fraction, sampling):
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Honest(Labeler):
        name = "honest"

        def label(self, known_labels):
            seen.append(known_labels)
            return np.maximum(known_labels, 0)

    offer(Honest)
    labeler = Honest(label_fraction=label_fraction, sampling=sampling)
    made = make(matrix(Method("m", title="M", labeler=labeler, selector=Random(per_class=True))))
    annotated = np.flatnonzero(seen[0] >= 0)
    assert len(annotated) == int(64 * label_fraction) == made.rows[0].labels_selection
    assert seen[0][annotated].tolist() == (annotated % 4).tolist()
    assert made.rows[0].labels_total <= 32 + len(annotated)


def test_the_total_is_the_union_of_annotated_and_kept(matrix, make, store):
    method = Method("m", title="M", labeler=NoLabeler(label_fraction=0.25), selector=Random(per_class=True))
    made = make(matrix(method))
    keys = {stage.kind: stage.key for stage in made.stages}
    annotated = set(np.flatnonzero(store.read(keys["known_labels"], Labels).annotated))
    kept = set(store.read(keys["subset"], Subset).index)
    assert made.rows[0].labels_total == len(annotated | kept)


@dataclass(frozen=True, kw_only=True)
class Sly(Labeler):
    """Says that all of its labels were annotated, or none."""

    name = "sly"
    label_fraction: float = 0.25
    says: bool = True

    def label(self, known_labels):
        return Labels(values=np.maximum(known_labels, 0), annotated=np.full(len(known_labels), self.says))


@pytest.mark.parametrize("says", [True, False])
def test_a_labeler_cannot_say_which_labels_were_annotated(matrix, make, offer, says):
    offer(Sly)
    method = Method("m", title="M", labeler=Sly(says=says), selector=Random(per_class=True))
    assert make(matrix(method)).failures == {
        "m toy 50% seed 0": "labeler 'sly' of stranger returned Labels, whose `annotated` is not its to say; "
        f"return PseudoLabels (toy). This is a bug in {__name__}."
    }


def test_nor_does_check_pass_it(offer):
    found = {check.name: check.error for check in conformance.check(Sly())}
    assert any("whose `annotated` only the core may set" in (why or "") for why in found.values())


def test_the_ledger_is_what_was_handed_out(matrix, make, offer, store):
    @dataclass(frozen=True, kw_only=True)
    class Contrary(Labeler):
        name = "contrary"
        label_fraction: float = 0.25

        def label(self, known_labels):
            return PseudoLabels(values=np.zeros(len(known_labels), int))

    offer(Contrary)
    made = make(matrix(Method("m", title="M", labeler=Contrary(), selector=Random(per_class=True))))
    labels = store.read(next(stage.key for stage in made.stages if stage.kind == "labels"), Labels)
    known_labels = store.read(
        next(stage.key for stage in made.stages if stage.kind == "known_labels"), Labels
    )
    assert labels.annotated.tolist() == known_labels.annotated.tolist()
    assert made.rows[0].labels_selection == 16


@dataclass(frozen=True, kw_only=True)
class Heir(Labeler):
    name = "heir"
    label_fraction: float = 0.25
    sampling: str = "given"
    heritage: tuple[float, ...] = ()

    def annotated_images(self, images, names):
        assert (images, names) == (64, ())
        return np.array(self.heritage, float if 0.5 in self.heritage else int)

    def label(self, known_labels):
        return np.maximum(known_labels, 0)


def test_labels_annotated_elsewhere_are_not_drawn(matrix, make, offer, store):
    offer(Heir)
    labeler = Heir(heritage=tuple(range(40, 56)))
    made = make(
        matrix(Method("m", title="M", labeler=labeler, selector=Random(per_class=True)), seeds=(0, 1))
    )
    (draw,) = (stage for stage in made.stages if stage.kind == "given")
    known_labels = store.read(draw.key, Labels)
    assert known_labels.values.tolist() == [-1] * 40 + [0, 1, 2, 3] * 4 + [-1] * 8
    assert known_labels.annotated.tolist() == (known_labels.values >= 0).tolist()
    assert [(row.label_draw, row.labels_selection) for row in made.rows] == [("given", 16)] * 2


@pytest.mark.parametrize("label_fraction", [0.0, 1.0])
def test_a_labeler_that_annotated_all_or_nothing_is_not_asked(matrix, make, offer, label_fraction):
    offer(Heir)
    labeler = Heir(heritage=(1, 2), label_fraction=label_fraction)
    made = make(matrix(Method("m", title="M", labeler=labeler, selector=Random(per_class=True))))
    assert made.rows[0].labels_selection == 64 * label_fraction
    assert made.rows[0].label_draw is None
    (draw,) = (stage for stage in made.stages if stage.kind == "known_labels")
    assert draw.identity == {
        "label_fraction": label_fraction,
        "sampling": "given",
    }  # shared by all such labelers


@pytest.mark.parametrize(
    ("heritage", "got"),
    [
        ((1, 1), "int64 [2] in 1..1"),
        ((64,), "int64 [1] in 64..64"),
        ((-1,), "int64 [1] in -1..-1"),
        ((0.5,), "float64 [1] in 0.5..0.5"),
    ],
)
def test_what_was_annotated_elsewhere_are_unique_indices(matrix, make, offer, heritage, got):
    offer(Heir)
    method = Method("m", title="M", labeler=Heir(heritage=heritage), selector=Random(per_class=True))
    assert make(matrix(method)).failures == {
        "m toy 50% seed 0": "labeler 'heir' of stranger must name annotated images by unique indices in "
        f"0..63, got {got} (toy). This is a bug in {__name__}."
    }


# Who opens which split


def test_only_the_last_stage_opens_the_test_split(matrix, make, toy, offer, monkeypatch):
    offer(Near)
    opened = []
    load = type(toy).load

    def recorded(self, root, split):
        opened.append(split)
        return load(self, root, split)

    everything = Method("m", title="M", labeler=GroundTruth(), scorer=Near(backbone="proxy"), selector=Top())
    made = matrix(everything, "dual")
    needed = made.missing()  # the content of the data is hashed here
    monkeypatch.setattr(type(toy), "load", recorded)
    splits = {}
    for stage in needed.values():
        context.load_split.cache_clear()
        opened.clear()
        jobs.run(made.job(stage), lambda done, total: None)
        splits.setdefault(stage.kind, set()).update(opened)
    assert {kind for kind, found in splits.items() if "test" in found} == {"accuracy"}
    assert splits["accuracy"] == {"train", "test"}


def test_a_process_keeps_at_most_four_splits(toy, tmp_path):
    train, labels = context.load_split(toy, tmp_path / "data", "train")
    assert context.load_split(toy, tmp_path / "data", "train")[0] is train
    for number in range(5):
        other = tmp_path / f"other{number}"
        other.mkdir()
        np.save(other / "toy.npy", np.zeros((96, 1, 8, 8), np.uint8))
        context.load_split(toy, other, "train")
    assert context.load_split.cache_info().currsize == 4
    again = context.load_split(toy, tmp_path / "data", "train")
    assert again[0] is not train
    assert (again[1] == labels).all()


def test_planning_opens_no_split_of_known_data(matrix, toy, monkeypatch):
    _ = matrix("dual").graph
    monkeypatch.setattr(type(toy), "load", None)
    assert len(matrix("dual").missing()) == 6


# Rows


def test_a_row_says_what_the_cell_is_and_what_it_cost(matrix, make):
    row = make(matrix("dual", ratios=[75])).rows[0]
    assert (row.method, row.dataset, row.ratio, row.seed, row.recipe) == ("dual", "toy", 75, 0, "tiny")
    assert (row.images, row.kept, sum(row.kept_per_class)) == (64, 16, 16)
    assert (row.labels_selection, row.labels_training, row.labels_total) == (64, 16, 64)
    assert set(row.seconds) == {"known_labels", "labels", "dynamics", "scores", "subset", "accuracy"}
    assert row.gpu_seconds == {}
    assert row.device == "cpu" and set(row.versions) == {"python", "prunebench", "torch", "numpy"}
    assert row.accuracy <= row.best_accuracy


def test_a_row_counts_the_images_that_networks_only_looked_at(matrix, make):
    """All 64 for their penultimate features, and 32 others each time that the final network is tested."""
    row = make(matrix("uncertainty_entropy")).rows[0]
    looked = {stage: units["images_forward"] for stage, units in row.work.items() if units["images_forward"]}
    assert looked == {"proxy_embeddings": 64, "accuracy": 32 * len(row.history)}


def test_a_row_counts_what_its_stages_reuse_as_if_they_had_made_it(matrix, make, monkeypatch):
    def select(self, images, keep):
        work.reuse(seconds=1000.0, cpu_seconds=500.0)
        return np.arange(keep)

    monkeypatch.setattr(Random, "select", select)
    row = make(matrix("random")).rows[0]
    assert 1000 < row.seconds["subset"] < 1100
    assert 500 < row.work["subset"]["cpu_seconds"] < 600
    assert row.seconds["accuracy"] < 100


def test_a_stage_stored_before_these_were_counted_leaves_them_out_of_the_row(matrix, make, monkeypatch):
    read = Store.manifest

    def earlier(store, key):
        manifest = read(store, key)
        if manifest["kind"] == "dynamics":
            del manifest["work"]["images_forward"]
        return manifest

    monkeypatch.setattr(Store, "manifest", earlier)
    work = make(matrix("uncertainty_entropy")).rows[0].work
    assert work["dynamics"]["images"] and not any("images_forward" in units for units in work.values())


def test_a_random_row_annotates_nothing_but_its_subset(matrix, make):
    row = make(matrix("random")).rows[0]
    assert (row.labels_selection, row.labels_training, row.labels_total) == (0, 32, 32)
    assert set(row.seconds) == {"subset", "accuracy"}


def test_the_toy_can_be_learnt(matrix, make):
    assert make(matrix("random", changes={"recipe.epochs": 20})).rows[0].accuracy > 90


def test_the_same_cell_twice_is_the_same(matrix, make, store, tmp_path):
    first = make(matrix("dual")).rows[0]
    shutil.rmtree(store.root)
    again = make(matrix("dual")).rows[0]
    assert (first.accuracy, first.subset_key) == (again.accuracy, again.subset_key)
    assert first.seconds != again.seconds


def test_a_row_says_where_memory_lacked_for_the_batch(matrix, make, monkeypatch):
    real = training.normalize

    def normalize(batch, *given):
        if torch.is_grad_enabled() and len(batch) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(batch, *given)

    monkeypatch.setattr(training, "normalize", normalize)
    assert make(matrix("random")).rows[0].micro_batch == 8
    monkeypatch.undo()
    assert make(matrix("random", seeds=(1,))).rows[0].micro_batch is None


def test_a_row_tells_whether_its_scores_order_anything(matrix, make):
    """Forgetting counts none in a single epoch, so constant scores are no breach of the contract."""
    once = {"recipe.epochs": 1}
    told = {
        row.method: row.constant_scores for row in make(matrix("forgetting_supervised", changes=once)).rows
    }
    told |= {row.method: row.constant_scores for row in make(matrix("random", "el2n_supervised")).rows}
    assert told == {
        "forgetting_supervised{recipe.epochs=1}": True,
        "random": False,
        "el2n_supervised": False,
    }
