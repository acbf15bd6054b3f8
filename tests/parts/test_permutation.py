"""Whether two groups of runs differ: an exact permutation test."""

import numpy as np
import pytest

from prunebench.parts.permutation import told_apart


def runs(seed, count, images=50):
    return np.random.default_rng(seed).normal(size=(count, images))


def test_runs_about_different_means_are_told_apart():
    shift = np.linspace(-2, 2, 50)
    assert told_apart(runs(0, 4), runs(1, 4) + shift)


@pytest.mark.parametrize("count", [2, 4])
def test_runs_drawn_alike_are_told_apart_as_often_as_chance_has_it(count):
    """Once in 3 for two and two runs, once in 35 for four and four, also where all values move together."""
    often = {2: 1 / 3, 4: 1 / 35}[count]
    for drawn in (lambda seed: runs(seed, 2 * count), lambda seed: runs(seed, 2 * count, 1) * np.ones(50)):
        found = [told_apart(both[:count], both[count:]) for both in map(drawn, range(600))]
        assert np.mean(found) == pytest.approx(often, abs=0.06)


def test_runs_that_never_differ_are_not_told_apart():
    one = np.arange(50.0) * np.ones((4, 1))
    assert not told_apart(one, one)
    assert not told_apart(one, one * (1 + 1e-7)), "rounding"
    assert told_apart(one, one[:, ::-1])
