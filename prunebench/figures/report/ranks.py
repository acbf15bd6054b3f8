"""Ranks of methods, and how far other seeds could move them."""

from __future__ import annotations

import numpy as np

from prunebench.parts import seeds
from prunebench.parts.artefacts import Array

DRAWS = 2000
LEVEL = 0.95


def intervals(accuracy: Array) -> Array:
    """Return the rank of each method by its mean accuracy, and its interval: int [methods, 3].

    The columns are rank, lowest and highest rank. 1 is the best. Equal means share the better rank.
    The interval is a percentile bootstrap of 95 % (Efron and Tibshirani 1993, section 13.3). It draws seeds
    with replacement 2000 times. All methods get the same seeds, since runs are paired by seed.

    accuracy: float [methods, seeds].
    """
    runs = accuracy.shape[1]
    drawn = seeds.stream("ranks", 0).integers(runs, size=(DRAWS, runs))
    ranks = _ranks(accuracy[:, drawn].mean(axis=2))
    bounds = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(ranks, bounds, axis=1, method="closest_observation")
    return np.stack([_ranks(accuracy.mean(axis=1, keepdims=True))[:, 0], low, high], axis=1)


def _ranks(means: Array) -> Array:
    """Return the ranks of methods in each draw: int [methods, draws]. means: float [methods, draws]."""
    ranks: Array = 1 + (means[:, None] < means[None]).sum(axis=1)
    return ranks
