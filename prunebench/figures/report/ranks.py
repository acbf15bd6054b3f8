"""Ranks of methods at a ratio, and how far other seeds could move them."""

from __future__ import annotations

import numpy as np

from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.results.board import Board, at, complete, label_usage

DRAWS = 2000
LEVEL = 0.95
Ranks = dict[str, list[int]]  # method -> rank by mean accuracy, lowest and highest rank; 1 is the best


def ranks(board: Board, ratio: int) -> Ranks:
    """Return the ranks of the methods that may be ranked, the best first; {} for fewer than two.

    They are those of the accuracy table: without all labels, with all seeds, and not tuned on the test split.
    """
    accuracies = {}
    for rows in board.methods(reference=False):
        found = at(rows, ratio)
        if label_usage(rows[0]) != "full" and found and complete(found, board.page):
            accuracies[rows[0].method] = [found[seed].accuracy for seed in board.page.seeds]
    if len(accuracies) < 2 or board.rows[0].tuning == "oracle_test":
        return {}
    found_intervals = intervals(np.array(list(accuracies.values()))).tolist()
    by_method = dict(zip(accuracies, found_intervals, strict=True))
    return dict(sorted(by_method.items(), key=lambda item: item[1][0]))


def intervals(accuracy: Array) -> Array:
    """Return the rank of each method by its mean accuracy, and its interval: int [methods, 3].

    The columns are rank, lowest and highest rank. Equal means share the better rank.
    The interval is a percentile bootstrap of 95 % (Efron and Tibshirani 1993, section 13.3). It draws seeds
    with replacement 2000 times. All methods get the same seeds, since runs are paired by seed.

    accuracy: float [methods, seeds].
    """
    runs = accuracy.shape[1]
    drawn = seeds.stream("ranks", 0).integers(runs, size=(DRAWS, runs))
    of_draws = _ranks(accuracy[:, drawn].mean(axis=2))
    bounds = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(of_draws, bounds, axis=1, method="closest_observation")
    return np.stack([_ranks(accuracy.mean(axis=1, keepdims=True))[:, 0], low, high], axis=1)


def _ranks(means: Array) -> Array:
    """Return the ranks of methods in each draw: int [methods, draws]. means: float [methods, draws]."""
    found: Array = 1 + (means[:, None] < means[None]).sum(axis=1)
    return found
