"""Guessed labels: what is recorded of them, what they cost, and the networks that trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.nn import networks
from prunebench.parts.artefacts import PseudoLabels, Weights
from prunebench.parts.base import Backbone, Labeler
from prunebench.parts.identity import identity
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.runs.label_report import details, histogram, judged, overview
from prunebench_plugins.backbones.resnets import Resnet18Imagenet
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.labeled_only import LabeledOnly
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.random import Random
from tests.plugins.brief import FIXMATCH


@dataclass(frozen=True, kw_only=True)
class Shifted(Labeler):
    """Says of every image that it did not pay for the class after the true one."""

    name = "shifted"
    label_fraction: float = 0.25
    space: str = "class"

    def label(self, known_labels):
        wrong = (np.arange(64) + 1) % 4
        return PseudoLabels(values=np.where(known_labels >= 0, known_labels, wrong), space=self.space)


def method(labeler, name="m", **more):
    return Method(name, title=name, labeler=labeler, **{"selector": Random()} | more)


# Quality


def test_a_row_says_how_good_the_guesses_were_on_what_was_not_annotated(matrix, make, offer):
    offer(Shifted)
    (row,) = make(matrix(method(Shifted()))).rows
    assert row.labeler == "shifted"
    assert row.quality["unlabeled_accuracy"] == 0 and row.quality["unlabeled_hungarian"] == 100
    assert row.quality["accuracy"] == 25
    assert sum(row.labels_per_class) == 64


def test_a_damaged_quality_counts_as_a_seed_that_is_not_there(matrix, make, offer, store):
    offer(Shifted)
    made = matrix(method(Shifted()), seeds=(0, 1))
    make(made)
    quality = made.graph.qualities[made.cells[0]]
    (store.path(quality.key) / "payload.safetensors").write_bytes(b"")
    assert [len(group.found) for group in judged(made)] == [1]
    assert [*made.missing()] == [quality.key]


def test_a_labeler_that_guesses_nothing_is_not_judged(matrix, make):
    found = matrix(method(NoLabeler(label_fraction=0.5), selector=Random(per_class=True)))
    (row,) = make(found).rows
    assert row.quality == {} and judged(found) == []


def test_labelers_side_by_side_from_the_store(matrix, make, offer):
    offer(Shifted)
    found = matrix(method(Shifted()), method(Shifted(space="cluster"), "n"), "random", seeds=[0, 1])
    assert overview(judged(found))[1] == [["shifted", "25%", "·"], ["shifted(space=cluster)", "25%", "·"]]
    make(found)
    groups = judged(found)
    assert [(group.labeler, group.methods, len(group.found)) for group in groups] == [
        ("shifted", ["m"], 2),
        ("shifted(space=cluster)", ["n"], 2),
    ]
    header, rows = details(groups, "toy")
    assert [dict(zip(header, row, strict=True))["right"] for row in rows] == ["0.0 ± 0.0", "·"]
    assert [row[1] for row in overview(groups)[1]] == ["25%", "25%"]
    truth, *labelers = histogram(groups, "toy")[1]
    assert truth == ["truth", "16", "16", "16", "16"]
    assert [row[0] for row in labelers] == ["shifted", "shifted(space=cluster)"]


def test_seeds_that_share_a_labeler_are_no_runs_of_it(matrix, make, offer):
    offer(Shifted)
    found = matrix(method(Shifted()), seeds=[0, 1], repeats="training")
    make(found)
    assert overview(judged(found))[1] == [["shifted", "25%", "25.0"]]


def test_labels_are_made_on_demand_and_nothing_else(cli, toy, suite_file, tmp_path):
    suite = suite_file(more='[method.m]\nlabeler = {part = "fixmatch", network = "cnn", iterations = 2, '
                            'batch = 4, mu = 1}\nselector = "random"\n')  # fmt: skip
    told = cli(f"labels --suite {suite} --methods m --seeds 2")
    assert told.code == 0 and "fixmatch   10%       ·" in told.out and "make it with --make" in told.out
    told = cli(f"labels --suite {suite} --methods m --seeds 2 --make --workers 0")
    assert told.code == 0 and "images per label" in told.out and "±" in told.out
    assert not (tmp_path / "leaderboard").exists()
    assert cli(f"labels --suite {suite}").err.startswith(
        "Error: no labeler of these methods makes pseudo-labels"
    )


# Cost


def test_another_score_on_the_same_labels_costs_no_labeler_and_no_proxy(matrix):
    one = method(FIXMATCH, scorer=Dual(window=2, epochs=4), selector=Beta(epochs=4))
    two = method(FIXMATCH, "n", scorer=Aum(), selector=Cutoff())
    before, both = set(matrix(one).graph.stages), matrix(one, two).graph.stages
    assert sorted(stage.kind for key, stage in both.items() if key not in before) == [
        "accuracy",
        "scores",
        "subset",
    ]


SHORT = FixMatch(label_fraction=0.25, network="cnn", iterations=2)


@pytest.mark.parametrize("labeler", [FIXMATCH, LabeledOnly(fixmatch=FIXMATCH), SHORT])
def test_the_ledger_counts_exactly_what_was_annotated(matrix, make, labeler):
    (row,) = make(matrix(method(labeler, selector=Random(per_class=True)))).rows
    assert row.labels_selection == int(64 * labeler.label_fraction)
    assert row.quality["accuracy"] >= 100 * labeler.label_fraction - 2


def test_a_control_without_labels_names_its_own_field(matrix, make):
    (reason,) = make(matrix(method(LabeledOnly(label_fraction=0, fixmatch=FIXMATCH)))).failures.values()
    assert reason.endswith(
        "labeled_only needs annotated images, but has none; raise labeled_only.label_fraction"
    )


def test_every_method_with_few_labels_says_how_many():
    shares = {name: m.label_fraction for name, m in load().found["methods"].items()}
    assert {name for name, share in shares.items() if share == 0.1} >= {"semi_aum", "semi_dual", "probe_aum"}
    assert {shares[name] for name in shares if name.startswith(("elfs", "zeroshot"))} == {0}


def test_annotated_images_are_in_the_subset_of_a_known_variant(matrix, make):
    given = method(NoLabeler(label_fraction=0.25), selector=Include())
    (row,) = make(matrix(given, ratios=[50])).rows
    assert (row.labels_selection, row.labels_total, row.kept) == (16, 32, 32)


# What is tested in the end


def test_a_network_may_train_on_the_labels_of_the_labeler(matrix, make, offer):
    """All but the annotated quarter of the labels are wrong, and that is what it learns."""
    offer(Shifted)
    pseudo = method(Shifted(label_fraction=0.1), ratio=0, final="labels", reference=True)
    true = method(Shifted(label_fraction=0.1), "n", ratio=0)
    made = make(matrix(pseudo, true, changes={"recipe.epochs": 12}))
    wrong, right = made.rows
    assert wrong.accuracy < 50 < right.accuracy
    assert (wrong.labels_training, wrong.labels_total) == (0, 6)
    assert wrong.method_key != right.method_key


def test_the_labelers_own_network_is_tested_untrained_further(matrix, make):
    own = method(FIXMATCH, selector=Annotated(), ratio=90, final="labeler", reference=True)
    made = make(matrix(own))
    assert made.failures == {}
    assert [stage.kind for stage in made.stages].count("dynamics") == 0
    (row,) = made.rows
    assert (row.labels_selection, row.labels_total, row.best_accuracy) == (6, 6, row.accuracy)


@pytest.mark.parametrize(
    ("labeler", "final", "message"),
    [
        (Shifted(space="cluster"), "labels", "cannot train on the labeler's clusters"),
        (Shifted(space="cluster"), "labeler", "cannot test the labeler's clusters"),
        (Shifted(), "labeler", "the labeler keeps no network of its own"),
    ],
)
def test_what_cannot_be_tested_is_one_line(matrix, make, offer, labeler, final, message):
    offer(Shifted)
    (reason,) = make(matrix(method(labeler, final=final))).failures.values()
    assert reason.startswith(message)


def test_a_method_has_a_known_end_and_a_labeler_for_it():
    with pytest.raises(PrunebenchError, match="final is 'pseudo', expected 'truth', 'labels' or 'labeler'"):
        method(Shifted(), final="pseudo")
    with pytest.raises(PrunebenchError, match="final 'labels' needs a labeler"):
        Method("m", title="M", selector=Random(), final="labels")


def test_the_kept_network_is_that_of_the_labels(store, matrix, make):
    made = make(matrix(method(FIXMATCH, selector=Random(per_class=True))))
    weights = store.read(next(s.key for s in made.stages if s.kind == "labels"), Weights)
    assert weights.network == "cnn"
    networks.restore(
        networks.build("cnn", channels=1, classes=4, resolution=8, generator_seed=0), weights.values
    )


# Files that parts read


def test_a_file_enters_the_key_by_its_content_not_its_place(matrix, tmp_path):
    near = method(load().part("labeler", "probe"), scorer=Aum(), selector=Cutoff())

    def keys(file):
        changes = {"probe.backbone": "resnet18_imagenet", "resnet18_imagenet.weights": str(file)}
        found = matrix(near, changes=changes)
        return {stage.key for stage in found.graph.stages.values() if stage.kind == "embeddings"}

    (tmp_path / "there").mkdir()
    for name, content in (("a", "one"), ("there/b", "one"), ("c", "other")):
        (tmp_path / name).write_text(content)
    assert keys(tmp_path / "a") == keys(tmp_path / "there" / "b") != keys(tmp_path / "c")
    (tmp_path / "a").write_text("other, longer")
    assert keys(tmp_path / "a") != keys(tmp_path / "there" / "b")
    with pytest.raises(PrunebenchError, match=r"resnet18_imagenet\.weights cannot be read: /.*/gone: No"):
        keys(tmp_path / "gone")


def test_a_part_with_a_file_travels_to_a_worker(tmp_path):
    (tmp_path / "w").write_text("w")
    part = Resnet18Imagenet(weights=tmp_path / "w")
    assert load().rebuild(identity(part)) == part


def test_absent_files_are_one_line_before_anything_is_made(cli, toy, suite_file, tmp_path):
    told = cli(f"run --suite {suite_file()} --methods elfs_dino,elfs_clip,random --workers 0")
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert "dino_vitb16" in told.err and "clip_vitl14" in told.err and "hf download" in told.err
    assert not (tmp_path / "leaderboard" / "results" / "toys" / "toy").exists()


def test_what_is_stored_needs_no_file(matrix, make, offer):
    @dataclass(frozen=True, kw_only=True)
    class Lost(Backbone):
        name = "lost"

        def ready(self):
            raise PrunebenchError("gone")

        def embed(self, images):
            return images.array.reshape(len(images), -1).astype(float)

    offer(Lost)
    found = matrix(method(load().part("labeler", {"part": "probe", "backbone": "lost"})))
    with pytest.raises(PrunebenchError, match="gone"):
        found.check_parts(found.missing())
    make(found)
    found.check_parts(found.missing())
