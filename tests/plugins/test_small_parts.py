"""Pixels, the two labelers that guess nothing, and the table of methods."""

import subprocess
import sys

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.images import Images
from prunebench.parts.sampling import kept, share
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.methods import register_methods
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.selectors.beta import Beta

METHODS = {method.name: method for method in register_methods()}


def pictures(array):
    return Images(np.asarray(array, np.uint8), mean=(0.5,), std=(0.5,))


# Pixels


def test_pixels_are_flattened_to_0_1():
    embeddings = Pixels().embed(pictures([[[[0, 51], [102, 255]]], [[[255, 0], [0, 0]]]]))
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, [[0, 0.2, 0.4, 1], [1, 0, 0, 0]])


def test_components_are_the_singular_vectors_of_the_centered_pixels():
    array = np.random.default_rng(0).integers(256, size=(30, 1, 3, 3))
    embeddings = Pixels(components=4).embed(pictures(array))
    pixels = array.reshape(30, 9) / 255
    u, s, _ = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.abs(embeddings), np.abs(u * s)[:, :4], atol=1e-5)


def test_more_components_than_there_are_is_one_line():
    with pytest.raises(PrunebenchError) as error:
        Pixels(components=5).embed(pictures(np.zeros((10, 1, 2, 2))))
    assert str(error.value) == ("pixels.components is 5, but 10 images of 4 values have at most 4; lower it")
    with pytest.raises(PrunebenchError, match=r"pixels\.components is 0, expected above 0"):
        Pixels(components=0)


# Labelers


def test_ground_truth_passes_the_true_labels_on():
    assert GroundTruth().label(np.array([2, 0, 1])).tolist() == [2, 0, 1]
    assert GroundTruth().label_fraction == 1


def test_none_knows_only_what_was_annotated():
    assert NoLabeler().label_fraction == 0
    assert NoLabeler(label_fraction=0.5).label(np.array([2, -1])).tolist() == [2, -1]


# Methods


def test_the_methods_and_their_references():
    ranked = [name for name, method in METHODS.items() if not method.reference]
    references = {name: method.ratio for name, method in METHODS.items() if method.reference}
    assert {"random", "dual", "aum_supervised", "el2n_supervised", "forgetting_supervised"} <= set(ranked)
    assert references == {
        "full": 0,
        "pseudo_all": 0,
        "ssl_model": 90,
        "labeled_only": 90,
        "random_twin": None,
        "random_stratified": None,
    }


def test_titles_are_unique():
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


def test_random_buys_no_label_and_the_supervised_methods_buy_all():
    annotations = {
        name: METHODS[name].label_fraction for name in ("random", "random_twin", "dual", "labeled_only")
    }
    assert annotations == {"random": 0, "random_twin": 0, "dual": 1, "labeled_only": 0.1}


def test_the_labels_of_labeled_only_are_as_many_as_it_keeps():
    method = METHODS["labeled_only"]
    assert all(share(n, method.label_fraction) == kept(n, method.ratio) for n in range(10_000))


def test_dual_and_beta_look_at_the_same_epochs():
    """Cho et al. take both from the first T epochs; a tuned `epochs` sets the field of both parts."""
    assert Dual().epochs == Beta().epochs


@pytest.mark.parametrize("module", ["backbones", "labelers", "scorers", "selectors", "methods"])
def test_importing_parts_loads_no_heavy_library(module):
    heavy = {"torch", "torchvision", "sklearn", "scipy", "pandas"}
    code = f"import prunebench_plugins.{module}, sys; print(*({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
