"""Final networks on the embeddings of a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.nn import training
from prunebench.parts.artefacts import Embeddings
from prunebench.parts.base import Backbone
from prunebench.parts.conformance import check
from prunebench.parts.images import Images, Vectors
from prunebench.parts.method import Method
from prunebench.results.document import facts
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.grand import Grand
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top
from tests.miniatures import PARTS
from tests.pipeline.searched import Powered

RANDOM = Method("r", title="R", selector=Random())
SCORED = Method("m", title="M", labeler=GroundTruth(), scorer=Aum(), selector=Top())
FROZEN = {"recipe.final_backbone": "pixels"}
LINEAR = FROZEN | {"recipe.head": "linear"}


def test_a_final_network_is_a_head_on_embeddings_of_both_splits(matrix, make, store):
    made = make(matrix(RANDOM, ratios=[50], changes=LINEAR | {"pixels.resize": 4}))
    assert made.failures == {}
    titles = {stage.kind: stage.title for stage in made.stages}
    assert titles["accuracy"] == "linear on pixels, 4 epochs"
    assert titles["embeddings"] == titles["test_embeddings"] == "pixels(resize=4)"
    shapes = {s.kind: store.read(s.key, Embeddings).values.shape for s in made.stages if "emb" in s.kind}
    assert shapes == {"embeddings": (64, 16), "test_embeddings": (32, 16)}
    assert made.rows[0].accuracy > 90


def test_the_row_and_its_page_say_what_final_networks_see(matrix, make, offer):
    offer(Seen)
    made = make(matrix(RANDOM, changes={"recipe.final_backbone": "seen"}))
    assert made.rows[0].final_network == "mlp on frozen embeddings of seen"
    assert "Final networks: mlp on frozen embeddings of seen. " in facts(made.rows)
    assert make(matrix(RANDOM)).rows[0].final_network is None


@dataclass(frozen=True, kw_only=True)
class Seen(Backbone):
    """The pixels; notes how many images it was handed."""

    name: ClassVar[str] = "seen"
    frozen: ClassVar[bool] = True  # type: ignore[assignment]

    def embed(self, images):
        HANDED.append(len(images))
        return images[:].flatten(1).float().numpy()


HANDED: list[int] = []


def test_each_split_is_embedded_once_for_all_cells(matrix, make, offer):
    offer(Seen)
    HANDED.clear()
    made = make(
        matrix(RANDOM, SCORED, ratios=[50, 70], seeds=[0, 1], changes={"recipe.final_backbone": "seen"})
    )
    assert (len(made.rows), made.failures) == (8, {})
    assert sorted(HANDED) == [32, 64]  # no seed enters


def test_the_test_split_is_standardized_as_the_training_images():
    training = Vectors(np.array([[0.0], [2.0]], np.float32))
    test = Vectors(np.array([[10.0]], np.float32), like=training)
    assert (training[:].flatten().tolist(), test[:].flatten().tolist()) == ([-1, 1], [9])


def test_what_final_networks_alone_see_is_no_cost_of_the_selection(matrix, make, offer):
    changes = {"recipe.final_backbone": "pixels"}
    row = make(matrix(RANDOM, changes=changes)).rows[0]
    assert set(row.seconds) == {"subset", "accuracy", "final_embeddings"}
    both = make(matrix(SCORED, changes=changes | {"recipe.proxy_backbone": "pixels"})).rows[0]
    assert {"embeddings", "final_embeddings"} < set(both.seconds)


def test_nothing_before_the_final_network_depends_on_its_backbone(matrix):
    def keys(changes):
        return {stage.kind: stage.key for stage in matrix(SCORED, changes=changes).graph.stages.values()}

    plain, frozen = keys({}), keys(FROZEN)
    assert {kind for kind in plain if plain[kind] == frozen[kind]} == {*plain} - {"accuracy"}


def test_a_change_of_the_backbone_concerns_every_method(matrix):
    cells = matrix(RANDOM, SCORED, changes=FROZEN | {"pixels.resize": 4}).cells
    assert {cell.method.name for cell in cells} == {
        "r{pixels.resize=4,recipe.final_backbone=pixels}",
        "m{pixels.resize=4,recipe.final_backbone=pixels}",
    }


@pytest.mark.parametrize("changes", [{"recipe.final_backbone": "swav"}, FROZEN | {"pixels.components": 3}])
def test_a_backbone_that_learns_from_the_images_is_refused(matrix, changes):
    with pytest.raises(PrunebenchError, match=r"recipe\.final_backbone is '\w+', which is not frozen"):
        matrix(RANDOM, changes=changes)


def test_an_unknown_head_is_one_line(matrix):
    with pytest.raises(PrunebenchError, match=r"recipe\.head is 'tree', expected 'mlp' or 'linear'"):
        matrix(RANDOM, changes=FROZEN | {"recipe.head": "tree"})


@dataclass(frozen=True, kw_only=True)
class Crowd(Backbone):
    """Says that it is frozen, but centers by the mean of all images."""

    name: ClassVar[str] = "crowd"

    @property
    def frozen(self):
        return True

    def embed(self, images):
        values = images[:].flatten(1).float().numpy()
        return values - values.mean(0)


def test_the_check_finds_a_backbone_that_is_not_as_frozen_as_it_says():
    (failed,) = [one for one in check(Crowd()) if one.error]
    assert failed.name == "frozen" and "depends on the other images" in failed.error
    assert all(one.error is None for one in check(Pixels()))


@pytest.mark.parametrize("tuning", ["search", "oracle_test"])
def test_a_search_validates_heads_too(matrix, make, offer, tuning):
    offer(Powered)
    method = Method("p", title="P", labeler=GroundTruth(), scorer=Powered(), selector=Top())
    made = make(matrix(method, changes=LINEAR, tuning=tuning))
    assert made.failures == {}
    titles = {stage.title for stage in made.stages if stage.kind == "validation"}
    assert titles == {"linear on pixels, 4 epochs, trying exponent"}


def test_a_part_that_trains_by_the_recipe_sees_what_the_proxy_sees(matrix, make):
    method = Method("g", title="G", labeler=GroundTruth(), scorer=Grand(runs=1, epochs=2), selector=Top())
    made = make(matrix(method, changes={"recipe.proxy_backbone": "pixels"}))
    assert made.failures == {}
    (scores,) = [stage for stage in made.stages if stage.kind == "scores"]
    assert [item.name for item in scores.inputs] == ["labels", "seen"]


# Images resized for what trains on them


def test_images_are_resized_without_aliasing():
    board = np.indices((8, 8)).sum(0) % 2 * 200
    images = Images(np.tile(board, (3, 1, 1, 1)).astype(np.uint8), mean=(0.5,), std=(0.5,))
    smaller = images.resized(2)
    assert smaller.array.shape == (3, 1, 2, 2)
    assert abs(smaller.array.astype(int) - 100).max() < 25  # not 0 or 200, as single pixels would be
    assert images.resized(None) is images.resized(8) is images
    with pytest.raises(PrunebenchError, match="images of 8 pixels cannot be resized to 9"):
        images.resized(9)


def test_the_network_of_a_labeler_is_tested_on_images_as_it_saw_them(matrix, make, monkeypatch):
    """A small CNN takes any resolution, so a wrong one would be no error."""
    seen, classify = [], training.classify

    def noting(network, images, **more):
        seen.append(images.resolution)
        return classify(network, images, **more)

    monkeypatch.setattr(training, "classify", noting)
    fixmatch = FixMatch(**PARTS["fixmatch"] | {"label_fraction": 0.5, "resize": 4})
    own = Method("own", title="O", labeler=fixmatch, selector=Annotated(), ratio=50, final="labeler")
    made = make(matrix(own))
    assert made.failures == {}
    assert seen == [4]


@pytest.mark.parametrize("part", [FixMatch, Pixels])
def test_a_size_of_nothing_is_one_line(part):
    with pytest.raises(PrunebenchError, match=r"\.resize is 0, expected above 0"):
        part(resize=0)
