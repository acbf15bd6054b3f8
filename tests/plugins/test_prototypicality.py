"""Prototypicality: distances by hand and against scikit-learn, and its ways to normalize."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler, normalize

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench_plugins.scorers.prototypicality import Prototypicality, normalized

# Two clusters whose centers are (0, 1) and (10, 3).
SQUARE = np.array([[0, 0], [10, 0], [0, 2], [10, 6], [10, 3]], np.float32)


@pytest.fixture
def score(device):
    def scored(part, embeddings, classes=2, seed=0, device=device):
        names = tuple(map(str, range(classes)))
        return part.score(embeddings, names, np.random.default_rng(seed), device)

    return scored


def blobs(n=300, classes=5, d=8):
    rng = np.random.default_rng(1)
    centers = 20 * rng.normal(size=(classes, d))
    return (centers[np.arange(n) % classes] + rng.normal(size=(n, d))).astype(np.float32)


def test_distances_to_the_center_of_the_own_cluster(score):
    scores = score(Prototypicality(), SQUARE)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [1, 3, 1, 3, 0], atol=1e-5)


def test_the_near_end_is_the_opposite_order(score):
    np.testing.assert_allclose(score(Prototypicality(end="near"), SQUARE), [-1, -3, -1, -3, 0], atol=1e-5)


def test_the_atypical_image_scores_highest(score):
    embeddings = blobs()
    embeddings[17] += 6
    assert score(Prototypicality(), embeddings, 5).argmax() == 17
    assert score(Prototypicality(end="near"), embeddings, 5).argmin() == 17


@pytest.mark.parametrize("how", ["none", "zscore", "l2"])
def test_distances_are_those_of_scikit_learn(score, how):
    embeddings = blobs()
    reference = {"none": lambda x: x, "zscore": StandardScaler().fit_transform, "l2": normalize}[how](
        embeddings
    )
    found = KMeans(5, n_init=10, random_state=0).fit(reference)
    expected = found.transform(reference).min(axis=1)
    np.testing.assert_allclose(score(Prototypicality(normalize=how), embeddings, 5), expected, atol=1e-4)


def test_clusters_are_as_many_as_classes_unless_told_otherwise(score):
    np.testing.assert_allclose(score(Prototypicality(), SQUARE, classes=5), 0, atol=1e-6)
    np.testing.assert_allclose(score(Prototypicality(clusters=2), SQUARE, classes=5)[0], 1, atol=1e-5)
    one = np.linalg.norm(SQUARE - SQUARE.mean(axis=0), axis=1)
    np.testing.assert_allclose(score(Prototypicality(clusters=1), SQUARE, classes=5), one, atol=1e-5)


def test_more_starts_find_a_sum_of_squares_no_larger(score):
    """With as many clusters as there are starts to try, one start is usually stuck in a worse place."""
    embeddings = np.random.default_rng(2).normal(size=(200, 3)).astype(np.float32)
    once, often = (
        [(score(Prototypicality(starts=starts), embeddings, 12, seed) ** 2).sum() for seed in range(6)]
        for starts in (1, 10)
    )
    assert np.mean(often) < np.mean(once)


def test_equal_seeds_score_equally(score):
    embeddings = np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32)
    first, again, other = (score(Prototypicality(starts=1), embeddings, 9, seed, "cpu") for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_equal_images_score_zero(score):
    assert score(Prototypicality(), np.ones((6, 3), np.float32)).tolist() == [0] * 6
    assert score(Prototypicality(), np.ones((1, 3), np.float32), classes=1).tolist() == [0]


def test_what_has_no_scale_is_left_without_one():
    embeddings = np.array([[0.1, 1, 3], [0.1, 3, 4], [0.1, 5, 5]], np.float32)
    half = np.sqrt(1.5)
    expected = [[0, -half, -half], [0, 0, 0], [0, half, half]]
    np.testing.assert_allclose(normalized(embeddings, "zscore"), expected, atol=1e-6)
    lengths = np.array([[3, 4], [0, 0]], np.float32)
    np.testing.assert_allclose(normalized(lengths, "l2"), [[0.6, 0.8], [0, 0]], atol=1e-7)
    assert normalized(lengths, "none") is lengths


@pytest.mark.parametrize("how", ["zscore", "l2"])
def test_normalizing_keeps_float32(how):
    assert normalized(blobs(), how).dtype == np.float32


def test_fewer_images_than_clusters_is_one_line(score):
    with pytest.raises(PrunebenchError) as error:
        score(Prototypicality(), SQUARE, classes=6)
    assert str(error.value) == (
        "prototypicality asks for 6 clusters of 5 images; set prototypicality.clusters to 1..5"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clusters": 0}, "prototypicality.clusters is 0, expected above 0, or None: the number of classes"),
        ({"starts": 0}, "prototypicality.starts is 0, expected above 0"),
        ({"normalize": "L2"}, "prototypicality.normalize is 'L2', expected 'none', 'zscore' or 'l2'"),
        ({"end": "middle"}, "prototypicality.end is 'middle', expected 'far' or 'near'"),
    ],
)
def test_a_wrong_field_is_one_line(fields, message):
    with pytest.raises(PrunebenchError) as error:
        Prototypicality(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "fields", [{}, {"end": "near"}, {"normalize": "zscore"}, {"normalize": "l2"}], ids=str
)
def test_the_contract_holds(device, fields):
    conform(Prototypicality(**fields), device)


def test_the_defaults_are_the_published_ones():
    assert Prototypicality() == Prototypicality(clusters=None, starts=10, normalize="none", end="far")
    assert Prototypicality().backbone == "swav_rn50"


@pytest.mark.gpu
def test_a_gpu_finds_the_same(score):
    embeddings = blobs()
    part = Prototypicality()
    names = tuple("abcde")
    scores = part.score(embeddings, names, np.random.default_rng(0), "cuda")
    np.testing.assert_allclose(scores, score(part, embeddings, 5, device="cpu"), atol=1e-4)
