"""Whether two groups of runs differ: an exact permutation test."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from prunebench.parts.artefacts import Array

ROUNDING = 1e-4  # of the spread of a run's values. A smaller difference counts as rounding


def told_apart(first: Array, second: Array) -> bool:
    """Whether two groups of runs differ more than in any other split of all runs into halves.

    This is an exact permutation test of the means. If all 2 r runs have one distribution, it is true once in
    as many times as there are such splits. That holds for any distribution and any correlation of the n
    values. It detects a difference about as large as the spread of the runs.

    first: r runs of n values, float [r, n].
    second: as many runs, float [r, n].
    """
    runs = len(first)
    values = np.concatenate([first, second])
    values = values - values.mean(axis=0)
    products = values @ values.T
    # One row per split: +1 for the runs in the half of run 0, -1 for the others.
    signs = np.array([np.isin(range(2 * runs), (0, *rest)) * 2.0 - 1 for rest in _halves(runs)])
    # The squared distance between the sums of the two halves.
    distances = np.einsum("hi,ij,hj->h", signs, products, signs)
    given = distances[0]  # the split into `first` and `second`
    smallest = (ROUNDING * runs) ** 2 * first.shape[1] * max(first.var(), second.var())
    return bool(given > smallest and (given > distances[1:] * (1 + 1e-9)).all())


def _halves(runs: int) -> combinations[tuple[int, ...]]:
    """Return the partners of run 0 in every split of 2 * runs runs into halves. The first is 1..runs - 1."""
    return combinations(range(1, 2 * runs), runs - 1)
