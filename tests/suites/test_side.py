"""Recipes whose networks see a part of larger images, or whose final networks train longer: in all stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from prunebench import PrunebenchError
from prunebench.nn import training
from prunebench.nn.networks import build, restore
from prunebench.parts.artefacts import Accuracy, Embeddings, Labels, Weights
from prunebench.parts.base import Labeler
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.parts.problem import MemoryCheckpoint, synthetic_problem
from prunebench_plugins.backbones.swav import loop
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.labeled_only import LabeledOnly
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.grand import Grand, gradient_norms
from prunebench_plugins.scorers.moderate import Moderate
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.top import Top

TINY = FixMatch(label_fraction=0.25, network="cnn", iterations=12, batch=8, mu=2, lr=0.05, bn_momentum=0.1)
SWAV = Swav(network="cnn", hidden=16, projection=8, epochs=2, batch=16, warmup_epochs=1, blur=0.0)
SEMI = Method("semi", title="S", labeler=TINY, scorer=Aum(), selector=Top())
OWN = Method("own", title="O", labeler=TINY, selector=Annotated(), ratio=75, final="labeler")
PROXY = Method("near", title="N", labeler=GroundTruth(), scorer=Moderate(), selector=Top())
GRAND = Method("pull", title="G", labeler=GroundTruth(), scorer=Grand(runs=1, epochs=1), selector=Top())
ALONE = Method("alone", title="A", labeler=LabeledOnly(fixmatch=TINY), scorer=Aum(), selector=Top())
TEMI = Temi(backbone=SWAV, heads=2, hidden=8, bottleneck=8, epochs=2, warmup_epochs=1, batch=32, neighbors=5)
ELFS = Method("elfs", title="E", labeler=TEMI, scorer=Aum(), selector=Top())
METHODS = (SEMI, OWN, PROXY, GRAND, ALONE, ELFS)
SEEN = {"recipe.side": 6, "recipe.resized_crop": [0.5, 1.0]}


def middle(images: Images) -> Images:
    """Return the middle 6 x 6 of images of 8 x 8."""
    return Images(images.array[:, :, 1:7, 1:7], mean=images.mean, std=images.std)


def keys(matrix: Any, method: Method, **changes: Any) -> dict[str, str]:
    found = matrix(method, changes={f"recipe.{name}": value for name, value in changes.items()})
    return {stage.kind: stage.key for stage in found.graph.stages.values()}


def changed(matrix: Any, method: Method, **changes: Any) -> set[str]:
    before, after = keys(matrix, method), keys(matrix, method, **changes)
    return {kind for kind in before if before[kind] != after[kind]}


def test_every_kind_of_stage_is_made_at_a_side(matrix, make) -> None:
    made = make(matrix(*METHODS, changes=SEEN))
    assert made.failures == {}
    assert {row.method.partition("{")[0] for row in made.rows} == {method.name for method in METHODS}


def test_what_reads_images_through_a_network_depends_on_the_side(matrix) -> None:
    everything = {"labels", "quality", "dynamics", "scores", "subset", "accuracy"}
    assert changed(matrix, SEMI, side=6) == everything
    assert changed(matrix, SEMI, resized_crop=[0.5, 1.0]) == everything - {"labels", "quality"}
    assert changed(matrix, SEMI, epochs=5) == everything - {"labels", "quality"}
    assert "embeddings" in changed(matrix, ELFS, side=6) - changed(matrix, ELFS, epochs=5)


def test_final_networks_alone_depend_on_their_number_of_steps(matrix, make, store) -> None:
    assert changed(matrix, SEMI, final_iterations=7) == {"accuracy"}
    found = matrix(SEMI, changes={"recipe.final_iterations": 7})
    titles = {stage.kind: stage.title for stage in found.graph.stages.values()}
    assert (titles["dynamics"], titles["accuracy"]) == ("cnn, 4 epochs", "cnn, 7 steps")
    make(found)
    accuracy = store.read(found.graph.targets[found.cells[0]].key, Accuracy)
    assert accuracy.history[-1][0] == 4, "32 images in batches of 16: two steps an epoch"


@pytest.mark.parametrize(("method", "kind"), [(OWN, "labeler_accuracy"), (PROXY, "proxy_embeddings")])
def test_in_what_precision_a_stored_network_looks_is_in_the_key_if_it_rounds(matrix, method, kind) -> None:
    """So nothing that was made before has another key: it was made in IEEE float32."""
    for precision, expected in (("fp32", None), ("tf32", "tf32")):
        graph = matrix(method, changes={"recipe.precision": precision}).graph
        (stage,) = [stage for stage in graph.stages.values() if stage.kind == kind]
        assert stage.identity.get("precision") == expected


def test_final_networks_alone_are_looked_at_every_so_many_steps(matrix, make) -> None:
    """Two steps an epoch. A search tests once, at the end of each training."""
    assert changed(matrix, SEMI, evaluate_steps=3) == {"accuracy"}
    rows = make(matrix(SEMI, changes={"recipe.evaluate_steps": 3})).rows
    assert [epoch for epoch, _ in rows[0].history] == [2, 3, 4]


def test_a_side_above_that_of_the_images_is_one_line_before_anything_runs(matrix) -> None:
    with pytest.raises(PrunebenchError, match=r"recipe\.side is 9, but the images have 8 pixels; set recipe"):
        matrix(SEMI, changes={"recipe.side": 9})


def test_fixmatch_labels_what_its_network_sees_in_the_middle(matrix, make, store) -> None:
    found = matrix(SEMI, OWN, changes=SEEN)
    made = {stage.kind: stage for stage in make(found).stages}
    labels, truth = store.read(made["labels"].key, Labels), np.arange(96) % 4
    weights = store.read(made["labels"].key, Weights)
    pixels = np.load(found.data / "toy.npy")
    network = build("cnn", channels=1, classes=4, resolution=6, generator_seed=0)
    restore(network, weights.values)
    shown = middle(Images(pixels, mean=(0.5,), std=(0.25,)))
    guessed = training.predict(network, shown, device="cpu")
    unlabeled = ~labels.annotated
    assert labels.values[unlabeled].tolist() == guessed[:64].argmax(1)[unlabeled].tolist()
    tested = next(stage for cell, stage in found.graph.targets.items() if cell.method.final == "labeler")
    accuracy = store.read(tested.key, Accuracy)
    assert accuracy.predictions.tolist() == guessed[64:].argmax(1).tolist()
    assert accuracy.accuracy == 100 * (guessed[64:].argmax(1) == truth[64:]).mean()


def test_embeddings_of_the_proxy_network_are_those_of_the_middle(matrix, make, store) -> None:
    found = matrix(PROXY, changes=SEEN)
    made = {stage.kind: stage for stage in make(found).stages}
    network = build("cnn", channels=1, classes=4, resolution=6, generator_seed=0)
    restore(network, store.read(made["dynamics"].key, Weights).values)
    shown = middle(Images(np.load(found.data / "toy.npy")[:64], mean=(0.5,), std=(0.25,)))
    expected = training.embed(network, shown, device="cpu")
    np.testing.assert_array_equal(store.read(made["proxy_embeddings"].key, Embeddings).values, expected)


@dataclass(frozen=True, kw_only=True)
class Asks(Labeler):
    name = "asks"

    def label(self, images, side):
        assert side in (None, 6)
        return np.zeros(len(images), int) + (side or 0) // 2


def test_a_part_may_ask_for_the_side(matrix, make, offer, store) -> None:
    offer(Asks)
    method = Method("m", title="M", labeler=Asks(), scorer=Aum(), selector=Top())
    for changes, label in ((None, 0), (SEEN, 3)):
        stages = make(matrix(method, changes=changes)).stages
        labels = next(stage for stage in stages if stage.kind == "labels")
        assert set(store.read(labels.key, Labels).values) == {label}


def test_a_proxy_on_embeddings_has_no_side(matrix, make) -> None:
    assert make(matrix(PROXY, changes=SEEN | {"recipe.proxy_backbone": "pixels"})).failures == {}


def test_gradients_are_those_of_the_middle() -> None:
    problem = synthetic_problem()
    network = build("cnn", channels=3, classes=4, resolution=6, generator_seed=0)
    index = np.arange(120)
    found = gradient_norms(network, problem.images, problem.labels, index, 6)
    expected = gradient_norms(network, middle(problem.images), problem.labels, index)
    np.testing.assert_array_equal(found, expected)


def test_crops_of_swav_are_shares_of_what_is_seen_and_its_features_those_of_the_middle() -> None:
    images = synthetic_problem().images
    options: dict[str, Any] = {"device": "cpu", "progress": lambda done, total: None}
    ours = SWAV.embed(
        images, ("a", "b"), np.random.default_rng(0), "cpu", options["progress"], MemoryCheckpoint(), 6
    )
    network = loop.train(
        images, 6, SWAV, rng=np.random.default_rng(0), checkpoint=MemoryCheckpoint(), side=6, **options
    )
    np.testing.assert_array_equal(ours, training.embed(network, middle(images), device="cpu"))
    run = loop._Run(images, 6, SWAV, np.random.default_rng(0), 6)
    assert run.groups(images[:16])[0].shape == (32, 3, 6, 6)
