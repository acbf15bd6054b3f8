"""Nearest neighbors, also among near copies, and k-means: in chunks, and as good as scikit-learn's."""

import hashlib

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from prunebench.errors import PrunebenchError
from prunebench.nn import neighbors
from prunebench.nn.neighbors import kmeans, linked, merged, nearest

SQUARE = np.array([[0, 0], [0, 1], [3, 0], [3, 1.5]])


def blobs(count, clusters, d, seed=0):
    """Vectors in well separated clusters, in turn: vectors, truth."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % clusters
    return 5 * np.eye(clusters, d)[truth] + rng.normal(0, 0.5, (count, d)), truth


def bursts(noise, count=20, size=10, d=64):
    """Near copies of some vectors, one burst after the other: float32 [count * size, d]."""
    rng = np.random.default_rng(0)
    scenes = np.repeat(rng.normal(size=(count, d)), size, axis=0)
    return (scenes + noise * rng.normal(size=scenes.shape)).astype(np.float32)


# Neighbors


def test_neighbors_come_nearest_first(device):
    indices, distances = nearest(SQUARE, 2, metric="euclidean", device=device)
    assert indices.tolist() == [[1, 2], [0, 3], [3, 0], [2, 1]]
    np.testing.assert_allclose(distances[0], [1, 3])


def test_cosine_sees_the_direction_only(device):
    indices, distances = nearest(np.array([[1.0, 0], [9, 0], [0, 2], [-3, 0]]), 3, device=device)
    assert indices[0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(distances[0], [0, 1, 2], atol=1e-6)


def test_a_vector_without_direction_is_at_1_from_all(device):
    assert nearest(np.array([[0.0, 0], [1, 0], [0, 1]]), 2, device=device)[1][0].tolist() == [1, 1]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("chunk", [1, 4 * 50 * 7, neighbors.CHUNK_BYTES])
def test_equal_to_scikit_learn_in_chunks_of_any_size(device, metric, chunk, monkeypatch):
    monkeypatch.setattr(neighbors, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(neighbors, "CACHED_BYTES", chunk)
    vectors = np.random.default_rng(0).normal(size=(50, 6))
    distances, indices = NearestNeighbors(n_neighbors=5, metric=metric).fit(vectors).kneighbors()
    found = nearest(vectors, 5, metric=metric, device=device)
    assert found[0].tolist() == indices.tolist()
    np.testing.assert_allclose(found[1], distances, atol=1e-5)


@pytest.mark.new_torch
def test_which_of_equally_near_vectors_come_is_kept():
    """The labels of ELFS on digits follow from it, under keys that would not change.

    All cosines are multiples of 1/4, so no processor rounds them.
    """
    rng = np.random.default_rng(0)
    places = rng.random((300, 16)).argsort(1)[:, :4]
    vectors = np.zeros((300, 16))
    np.put_along_axis(vectors, places, rng.choice([-1.0, 1.0], (300, 4)), axis=1)
    indices, _ = nearest(vectors, 10)
    assert hashlib.sha256(indices.tobytes()).hexdigest()[:16] == "e13a85a76bb6479b"


def test_never_its_own_neighbor_among_duplicates(device, monkeypatch):
    """A published version excludes only the first rows of a chunk from themselves."""
    monkeypatch.setattr(neighbors, "CHUNK_BYTES", 4 * 30 * 4)
    for metric in ("cosine", "euclidean"):
        indices, distances = nearest(np.ones((30, 3)), 29, metric=metric, device=device)
        assert all(sorted({*row, i}) == list(range(30)) for i, row in enumerate(indices.tolist()))
        assert np.abs(distances).max() < 1e-6


def test_distances_far_from_the_origin_are_exact(device):
    assert nearest(1e4 + SQUARE, 1, metric="euclidean", device=device)[1][:, 0].tolist() == [1, 1, 1.5, 1.5]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("chunk", [4 * 200 * 30, neighbors.CHUNK_BYTES])
@pytest.mark.parametrize("noise", [1e-2, 1e-3])
def test_neighbors_among_near_copies_are_right(device, metric, chunk, noise, monkeypatch):
    """Where products of single-precision numbers are wrong by more than the gaps."""
    monkeypatch.setattr(neighbors, "CHUNK_BYTES", chunk)
    vectors = bursts(noise)
    exact = vectors.astype(np.float64)
    if metric == "cosine":
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    distances, indices = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(exact).kneighbors()
    found = nearest(vectors, 4, metric=metric, device=device)
    assert (found[0] == indices).mean() > 0.99  # unit vectors are rounded to float32
    expected = distances**2 / 2 if metric == "cosine" else distances
    np.testing.assert_allclose(found[1], expected, rtol=2e-3)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("d", [8, 64, 512])
def test_copies_are_at_no_distance(device, metric, d):
    vectors = np.tile(np.random.default_rng(0).normal(size=(150, d)), (2, 1))
    indices, distances = nearest(vectors, 3, metric=metric, device=device)
    assert indices[:, 0].tolist() == [*range(150, 300), *range(150)]
    assert not distances[:, 0].any() and distances[:, 1].all()


def test_only_neighbors_that_are_near_are_computed_twice(monkeypatch):
    asked = []
    fine = neighbors.fine_squares
    monkeypatch.setattr(neighbors, "fine_squares", lambda *both: asked.append(len(both[0])) or fine(*both))
    vectors = np.random.default_rng(1).normal(size=(300, 64))
    for metric in ("cosine", "euclidean"):
        nearest(vectors, 5, metric=metric)
    assert asked == []
    nearest(np.concatenate([vectors, bursts(1e-3, count=1)]), 5, metric="euclidean")
    assert asked == [10]


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbors_than_there_are_is_one_line(k):
    with pytest.raises(PrunebenchError) as error:
        nearest(SQUARE, k)
    assert str(error.value) == f"asked for {k} neighbors of each of 4 vectors; choose 1..3"


def test_other_bad_input_is_one_line():
    with pytest.raises(PrunebenchError, match=r"no metric named 'l1'\. Known: cosine, euclidean"):
        nearest(SQUARE, 1, metric="l1")
    with pytest.raises(PrunebenchError, match=r"expected \[n, d\], all finite"):
        nearest(np.full((4, 2), np.nan), 1)


@pytest.mark.parametrize(
    "compute",
    [
        lambda vectors: nearest(vectors, 2)[0],
        lambda vectors: kmeans(vectors, 2, rng=np.random.default_rng(0)).assignments,
        lambda vectors: linked(vectors, 0.9),
    ],
    ids=["nearest", "kmeans", "linked"],
)
def test_arrays_may_lie_in_memory_in_any_way_but_not_overflow(compute):
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    expected = compute(vectors).tolist()
    assert compute(vectors[::-1].copy()[::-1]).tolist() == expected
    assert compute(vectors.astype(">f8")).tolist() == expected
    for too_large in (vectors * 1e39, (vectors * 1e20).astype(np.float32)):
        with pytest.raises(
            PrunebenchError, match=r"^vectors with numbers up to .*: squares overflow float32$"
        ):
            compute(too_large)
    with pytest.raises(PrunebenchError, match=r"^vectors of shape \(20, 0\), expected \[n, d\], all finite"):
        compute(vectors[:, :0])


# Groups


def test_vectors_are_linked_from_a_cosine_on(device):
    pair = [np.array([[1, 0], [np.cos(angle), np.sin(angle)]]) for angle in (0.02, 0.021)]
    least = np.cos(0.02) - 1e-6
    assert [linked(vectors, least, device=device).tolist() for vectors in pair] == [[0, 0], [0, 1]]


def test_chains_are_one_group_whatever_the_chunks(monkeypatch, device):
    angles = np.array([0.0, 2.0, 0.01, 2.01, 0.02, 1.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    wanted = linked(vectors, np.cos(0.011), device=device).tolist()
    assert [group == wanted[0] for group in wanted] == [True, False, True, False, True, False]
    assert wanted[1] == wanted[3] != wanted[5]
    monkeypatch.setattr(neighbors, "CHUNK_BYTES", 1)
    assert linked(vectors, np.cos(0.011), device=device).tolist() == wanted
    assert linked(np.zeros((2, 3)), 0.5, device=device).tolist() == [0, 1]


def test_groups_of_linked_members_become_one():
    assert merged(np.arange(5), np.array([0, 3]), np.array([4, 4])).tolist() == [0, 1, 2, 0, 0]


# k-means


def test_kmeans_finds_separate_clusters(device):
    vectors, truth = blobs(200, 5, 8)
    found = kmeans(vectors, 5, rng=np.random.default_rng(0), starts=1, device=device)
    assert len(set(zip(found.assignments, truth, strict=True))) == 5
    means = [vectors[found.assignments == c].mean(axis=0) for c in range(5)]
    np.testing.assert_allclose(found.centers, means, atol=1e-5)
    gaps = np.linalg.norm(vectors - found.centers[found.assignments], axis=1)
    np.testing.assert_allclose(found.distances, gaps, atol=1e-5)
    assert found.inertia == pytest.approx((gaps**2).sum(), rel=1e-5)


def test_kmeans_is_as_good_as_scikit_learn(device):
    vectors = load_digits().data
    ours = [kmeans(vectors, 10, rng=np.random.default_rng(seed), device=device).inertia for seed in range(3)]
    theirs = [KMeans(10, n_init=10, random_state=seed).fit(vectors).inertia_ for seed in range(3)]
    assert np.mean(ours) < 1.003 * np.mean(theirs)


def test_kmeans_depends_on_its_generator_alone():
    vectors = np.random.default_rng(0).normal(size=(100, 4))
    first, again, other = (
        kmeans(vectors, 7, rng=np.random.default_rng(seed), starts=1) for seed in (0, 0, 1)
    )
    assert first.centers.tolist() == again.centers.tolist() != other.centers.tolist()


def test_an_empty_cluster_moves_to_the_farthest_vector(monkeypatch):
    begin = neighbors.torch.tensor([[0.0], [90.0]])
    monkeypatch.setattr(neighbors, "_greedy_start", lambda points, k, generator: begin)
    found = kmeans(np.array([[-1.0], [-1], [-1], [3]]), 2, rng=np.random.default_rng(0), starts=1)
    assert found.assignments.tolist() == [0, 0, 0, 1]
    assert found.inertia == 0


def test_more_clusters_than_distinct_vectors(device):
    found = kmeans(np.array([[0.0], [0], [1]]), 3, rng=np.random.default_rng(0), device=device)
    assert found.inertia == 0


def test_more_clusters_than_vectors_is_one_line():
    with pytest.raises(PrunebenchError) as error:
        kmeans(SQUARE, 5, rng=np.random.default_rng(0))
    assert str(error.value) == "asked for 5 clusters of 4 vectors; choose 1..4"


@pytest.mark.gpu
def test_a_gpu_finds_the_same():
    vectors, truth = blobs(500, 5, 8)
    assert nearest(vectors, 3, device="cuda")[0].tolist() == nearest(vectors, 3)[0].tolist()
    found = kmeans(vectors, 5, rng=np.random.default_rng(0), device="cuda")
    assert len(set(zip(found.assignments, truth, strict=True))) == 5
