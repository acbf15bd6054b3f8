"""k-center: the farthest image next, beside a loop over all distances."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench_plugins.selectors import k_center
from prunebench_plugins.selectors.k_center import KCenter, farthest_first


def rng(seed=0):
    return np.random.default_rng(seed)


def silent(done, total):
    pass


@pytest.fixture
def select(device):
    def selected(part, embeddings, keep, seed=0, progress=silent):
        return part.select(np.asarray(embeddings, np.float32), keep, rng(seed), device, progress)

    return selected


def first_to_farthest(embeddings, first, keep, metric="euclidean"):
    """Restate the greedy rule, with all distances at once; the first of those equally far is next."""
    apart = cdist(embeddings, embeddings, metric)
    chosen = [first]
    while len(chosen) < keep:
        gaps = apart[chosen].min(axis=0)
        gaps[chosen] = -1
        chosen.append(int(gaps.argmax()))
    return chosen


@pytest.fixture(params=[1, 2, 7, 512])
def front(request, monkeypatch):
    """How many compete, few enough that a round ends early, or all."""
    monkeypatch.setattr(k_center, "FRONT", request.param)
    monkeypatch.setattr(k_center, "CHUNK", 40 * request.param)


def test_the_farthest_is_next(select):
    line = [[0.0], [1], [4], [10]]
    orders = {tuple(select(KCenter(), line, 4, seed).tolist()) for seed in range(30)}
    assert orders == {(0, 3, 2, 1), (1, 3, 2, 0), (2, 3, 0, 1), (3, 0, 2, 1)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_k_center_against_a_loop(select, front, seed, metric):
    embeddings = rng(seed).normal(size=(90, 5)) + 3
    subset = select(KCenter(metric=metric), embeddings, 60, seed)
    assert subset.tolist() == first_to_farthest(embeddings, subset[0], 60, metric)


@pytest.mark.parametrize("seed", range(5))
def test_points_equally_far_are_picked_in_their_order(front, seed):
    """Whole numbers, so that distances are exact and most of them tie."""
    points = rng(seed).integers(0, 9, size=(80, 2)).astype(np.float32)
    lengths = (points**2).sum(axis=1)
    blocks = farthest_first(torch.tensor(points), torch.tensor(lengths))
    assert np.concatenate([*blocks]).tolist() == first_to_farthest(points, 0, 80, "sqeuclidean")


def test_the_radius_is_at_most_twice_the_smallest(select):
    for seed in range(10):
        points = rng(seed).normal(size=(12, 2))
        apart = cdist(points, points)
        best = min(apart[list(centers)].min(axis=0).max() for centers in combinations(range(12), 3))
        assert best <= apart[select(KCenter(), points, 3, seed)].min(axis=0).max() <= 2 * best


def test_copies_are_kept_last(select):
    """Five places, ten copies of each: no place twice before every place once."""
    embeddings = np.repeat(rng().integers(-9, 9, size=(5, 3)), 10, axis=0)
    for seed in range(5):
        subset = select(KCenter(), embeddings, 50, seed)
        assert set(subset[:5] // 10) == {0, 1, 2, 3, 4}
        assert sorted(subset) == list(range(50))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("d", [8, 64, 512])
def test_copies_are_kept_last_and_at_random(select, metric, d):
    """Of each pair one, then half of the others: rounding does not decide which."""
    pairs = np.tile(rng().normal(size=(60, d)), (2, 1))
    both = np.zeros(60)
    for seed in range(40):
        places = select(KCenter(metric=metric), pairs, 90, seed) % 60
        assert len(set(places[:60])) == 60
        both += np.bincount(places, minlength=60) == 2
    assert both.std() < 5  # by chance 3.2. It is 20 if the same pairs are kept each time


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_near_copies_are_told_apart(select, front, metric):
    """Where products of single-precision numbers are wrong by more than the gaps."""
    scenes = np.repeat(rng().normal(size=(9, 16)), 10, axis=0)
    embeddings = (scenes + 1e-3 * rng(1).normal(size=scenes.shape)).astype(np.float32)
    subset = select(KCenter(metric=metric), embeddings, 60)
    assert subset.tolist() == first_to_farthest(embeddings.astype(np.float64), subset[0], 60, metric)


def test_equal_images_are_kept_at_random(select):
    first, second = (select(KCenter(), np.ones((600, 2)), 100, seed) for seed in (0, 1))
    assert 200 < first.mean() < 400
    assert set(first) != set(second)


def test_it_begins_anywhere(select):
    begins = {int(select(KCenter(), np.arange(5)[:, None], 1, seed)[0]) for seed in range(50)}
    assert begins == {0, 1, 2, 3, 4}


def test_the_cosine_ignores_lengths_and_has_zero_at_one_from_all(select):
    embeddings = np.array([[1.0, 0], [5, 0.1], [0, 0], [-1, 0], [0.2, 1]])
    longer = embeddings * np.array([[3.0], [0.5], [2], [7], [40]])
    subsets = [select(KCenter(metric="cosine"), embeddings, 5, seed).tolist() for seed in range(20)]
    assert subsets == [select(KCenter(metric="cosine"), longer, 5, seed).tolist() for seed in range(20)]
    # From the first: 0.0002, 1, 2 and 0.8. Then the zero vector is at 1 from both, and the last at 0.8.
    assert {tuple(subset[:3]) for subset in subsets if subset[0] == 0} == {(0, 3, 2)}


def test_an_offset_far_greater_than_the_distances_does_not_blur_them(select):
    points = rng().integers(0, 40, size=(60, 2))
    near, far = (select(KCenter(), points + offset, 30) for offset in (0, 50_000))
    assert cdist(points, points[near]).min(axis=1).max() == cdist(points, points[far]).min(axis=1).max()


def test_subsets_of_one_seed_are_nested(select, front):
    embeddings = rng().normal(size=(50, 4))
    large, small = (select(KCenter(), embeddings, keep, seed=3) for keep in (40, 11))
    assert large[:11].tolist() == small.tolist()


def test_progress_runs_up_to_the_size(select, monkeypatch):
    monkeypatch.setattr(k_center, "FRONT", 5)
    seen = []
    select(KCenter(), rng().normal(size=(50, 4)), 40, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and len(seen) > 5
    assert seen[-1] == (40, 40)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_images(select, n):
    for keep in range(n + 1):
        subset = select(KCenter(), np.eye(n), keep)
        assert subset.shape == (keep,) and len(set(subset)) == keep


@pytest.mark.parametrize("part", [KCenter(), KCenter(metric="cosine"), KCenter(per_class=True)])
def test_k_center_keeps_the_contract(device, part):
    conform(part, device)


def test_another_metric_is_one_line():
    with pytest.raises(PrunebenchError, match=r"k_center\.metric is 'l1', expected 'euclidean' or 'cosine'"):
        KCenter(metric="l1")
