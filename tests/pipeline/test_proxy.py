"""A proxy network that trains on embeddings instead of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from prunebench.nn import training
from prunebench.nn.augment import normalize
from prunebench.parts.artefacts import Dynamics, Embeddings
from prunebench.parts.base import Scorer
from prunebench.parts.images import Vectors
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.top import Top

METHOD = Method("m", title="M", labeler=GroundTruth(), scorer=Aum(), selector=Top())
ON_PIXELS = {"recipe.proxy_backbone": "pixels"}


def test_vectors_are_standardized_and_normalizing_changes_nothing() -> None:
    values = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    values[:, 3] = 7
    before = values.copy()
    vectors = Vectors(values)
    for batch in (vectors[:], vectors[np.arange(50)], vectors.to("cpu").take(np.arange(50))[:]):
        seen = batch.flatten(1)
        torch.testing.assert_close(seen.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-4, rtol=0)
        assert normalize(batch, vectors.mean, vectors.std).equal(batch)
    assert np.array_equal(values, before)


def test_a_part_of_the_vectors_is_standardized_as_all_are() -> None:
    values = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    index = np.array([7, 1, 30])
    vectors = Vectors(values)
    assert vectors.take(index)[:].equal(vectors[index])
    assert Vectors(values[index], like=vectors)[:].equal(vectors[index])


def test_an_mlp_learns_from_vectors() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    values = (np.eye(4)[labels] + rng.normal(0, 0.2, (200, 4))).astype(np.float32)
    recipe = Recipe(network="mlp", epochs=10, batch=32)
    trained = training.train(Vectors(values), labels, recipe, classes=4, rng=rng, device="cpu", record=True)
    assert isinstance(trained.dynamics, Dynamics) and trained.dynamics.correct[-1].mean() > 0.95


def test_a_recipe_on_vectors_crops_and_mirrors_nothing() -> None:
    recipe = Recipe(network="cnn", epochs=3, batch=7, flip=True, side=6, resized_crop=(0.5, 1), lr=0.3)
    assert recipe.on_vectors() == Recipe(network="mlp", epochs=3, batch=7, lr=0.3)
    assert Recipe(network="cnn", epochs=3, crop=4).on_vectors() == Recipe(network="mlp", epochs=3)


def test_the_proxy_trains_on_embeddings_and_the_final_network_on_images(matrix, make) -> None:
    found = matrix(METHOD, changes=ON_PIXELS)
    titles = {stage.kind: stage.title for stage in found.graph.stages.values()}
    assert (titles["embeddings"], titles["dynamics"]) == ("pixels", "mlp on pixels, 4 epochs")
    assert titles["accuracy"] == "cnn, 4 epochs"
    assert make(found).failures == {}


@dataclass(frozen=True, kw_only=True)
class Near(Scorer):
    name = "near"
    backbone: str = "proxy"

    def score(self, embeddings):
        return embeddings[:, 0].astype(float)


def test_the_embeddings_of_such_a_proxy_are_its_hidden_layer(matrix, make, offer, store) -> None:
    offer(Near)
    method = Method("n", title="N", labeler=GroundTruth(), scorer=Near(), selector=Top())
    made = make(matrix(method, changes=ON_PIXELS)).stages
    shapes = [store.read(s.key, Embeddings).values.shape for s in made if "embeddings" in s.kind]
    assert sorted(shapes) == [(64, 64), (64, 256)]


def test_the_backbone_of_the_proxy_is_part_of_the_methods_key(matrix) -> None:
    assert matrix(METHOD).cells[0].method_key != matrix(METHOD, changes=ON_PIXELS).cells[0].method_key
