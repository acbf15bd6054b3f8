"""Whether two groups of runs differ: an exact permutation test."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from prunebench.parts.artefacts import Array

ROUNDING = 1e-4  # of the spread of a run's values: a smaller difference is none


def told_apart(first: Array, second: Array) -> bool:
    """Whether two groups of runs, both float [r, n], differ more than any other halves of all 2 r runs do.

    An exact permutation test of the means: of runs that are all drawn alike it says so once in as many times
    as 2 r runs have halves, whatever they are like and however their n values hang together. What it finds
    is a difference about as large as the spread of the runs.
    """
    runs = len(first)
    together = np.concatenate([first, second])
    together = together - together.mean(axis=0)
    products = together @ together.T
    signs = np.array([np.isin(range(2 * runs), (0, *rest)) * 2.0 - 1 for rest in _halves(runs)])
    apart = np.einsum("hi,ij,hj->h", signs, products, signs)  # the given halves are the first
    smallest = (ROUNDING * runs) ** 2 * first.shape[1] * max(first.var(), second.var())
    return bool(apart[0] > smallest and (apart[0] > apart[1:] * (1 + 1e-9)).all())


def _halves(runs: int) -> combinations[tuple[int, ...]]:
    """Return what goes with run 0 in each way to halve twice so many runs; the first is 1..runs - 1."""
    return combinations(range(1, 2 * runs), runs - 1)
