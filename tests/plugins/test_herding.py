"""Herding: the kept mean follows the mean of all, beside the published rule in a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench_plugins.selectors import herding
from prunebench_plugins.selectors.herding import Herding


def rng(seed=0):
    return np.random.default_rng(seed)


def silent(done, total):
    pass


@pytest.fixture
def select(device):
    def selected(part, embeddings, keep, progress=silent, seed=0):
        return part.select(np.asarray(embeddings, np.float32), keep, rng(seed), device, progress)

    return selected


def loop(embeddings, keep, choose=min):
    """Restate the rule: the smallest ||(t + 1) mu - S - x|| of those left."""
    mu, total, chosen = embeddings.mean(axis=0), 0, []
    for t in range(keep):
        left = [i for i in range(len(embeddings)) if i not in chosen]
        best = choose(left, key=lambda i: np.linalg.norm((t + 1) * mu - total - embeddings[i]))
        chosen.append(best)
        total = total + embeddings[best]
    return chosen


def test_by_hand(select):
    """The mean of 0, 1 and 5 is 2: 1 is nearest to 2, then 5 to 4 - 1; farthest from 2 is 5, then 1."""
    assert select(Herding(), [[0.0], [1], [5]], 3).tolist() == [1, 2, 0]
    assert select(Herding(pick="farthest"), [[0.0], [1], [5]], 3).tolist() == [2, 1, 0]


@pytest.mark.parametrize(("pick", "choose"), [("nearest", min), ("farthest", max)])
@pytest.mark.parametrize("seed", range(4))
def test_herding_against_the_rule(select, pick, choose, seed):
    embeddings = rng(seed).gamma(1, size=(70, 6)) * rng(seed).gamma(1, size=(70, 1))
    embeddings = embeddings.astype(np.float32)
    expected = loop(embeddings.astype(float), 70, choose)
    assert select(Herding(pick=pick), embeddings, 70).tolist() == expected


def test_an_offset_far_greater_than_the_differences_does_not_blur_them(select):
    """At 30,000 the products of float32 are off by more than the squared distances are."""
    embeddings = rng().integers(0, 30, size=(60, 3))
    assert select(Herding(), embeddings + 30_000, 60).tolist() == select(Herding(), embeddings, 60).tolist()


def test_long_selections_gather_no_errors(select):
    embeddings = rng(1).normal(size=(1500, 8)).astype(np.float32)
    points = embeddings - embeddings.mean(axis=0, dtype=np.float64)
    total, free = np.zeros(8), np.ones(1500, bool)
    for place in select(Herding(), embeddings, 1200):
        gaps = np.linalg.norm(total + points, axis=1)
        assert free[place] and gaps[place] <= gaps[free].min() + 1e-5
        free[place] = False
        total += points[place]


def test_the_kept_mean_is_far_closer_than_that_of_a_random_subset(select):
    embeddings = rng(2).normal(size=(500, 5))
    mean = embeddings.mean(axis=0)

    def off(index):
        return np.linalg.norm(embeddings[index].mean(axis=0) - mean)

    chance = np.mean([off(rng(seed).permutation(500)[:50]) for seed in range(20)])
    assert off(select(Herding(), embeddings, 50)) < chance / 10
    assert off(select(Herding(pick="farthest"), embeddings, 50)) > chance


def test_of_equal_images_a_random_one_is_picked(select):
    subsets = [select(Herding(), np.ones((300, 2)), 60, seed=seed) for seed in (0, 1)]
    assert all(100 < subset.mean() < 200 for subset in subsets)
    assert set(subsets[0]) != set(subsets[1])
    twins = [[5.0], [1], [1], [1]]
    assert {tuple(select(Herding(), twins, 1, seed=seed)) for seed in range(20)} == {(1,), (2,), (3,)}


def test_seeds_share_the_picks(select, device, monkeypatch):
    """They differ among equal images alone."""
    embeddings = np.repeat(rng().normal(size=(40, 3)), 2, axis=0)
    begun = []
    picks = Herding._picks
    monkeypatch.setattr(Herding, "_picks", lambda *args: begun.append(1) or picks(*args))
    first, other = (select(Herding(), embeddings, 60, seed=seed) for seed in (0, 1))
    assert first.tolist() != other.tolist()
    assert (embeddings[first] == embeddings[other]).all()
    assert len(set(other)) == 60
    assert len(begun) == 1


def test_smaller_subsets_are_the_beginning_of_larger_ones(select):
    embeddings = rng().normal(size=(50, 4))
    assert select(Herding(), embeddings, 40)[:10].tolist() == select(Herding(), embeddings, 10).tolist()


def test_progress_is_reported(select, monkeypatch):
    monkeypatch.setattr(herding, "BLOCK", 10)
    seen = []
    select(Herding(), rng().normal(size=(50, 4)), 35, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10, 35), (20, 35), (30, 35), (35, 35)]


@pytest.mark.parametrize("n", [1, 2])
def test_few_images(select, n):
    for keep in range(n + 1):
        assert sorted(select(Herding(), np.eye(n), keep)) == list(range(keep))


@pytest.mark.parametrize("part", [Herding(), Herding(pick="farthest"), Herding(per_class=True)])
def test_herding_keeps_the_contract(device, part):
    conform(part, device)


def test_another_pick_is_one_line():
    with pytest.raises(PrunebenchError, match=r"herding\.pick is 'best', expected 'nearest' or 'farthest'"):
        Herding(pick="best")
