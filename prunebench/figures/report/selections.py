"""Subsets and scores of methods, compared. The values become JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from prunebench.figures.report.lineage import Picked
from prunebench.parts.artefacts import Array

BINS = 40  # of a histogram


@dataclass
class Histogram:
    """Images per score, in bins of equal width between the least and the highest score.

    low, high: the least and the highest score.
    all, kept: images in each bin.
    kept_low, kept_high: the least and the highest score of a kept image.
    """

    low: float
    high: float
    all: list[int]
    kept: list[int]
    kept_low: float
    kept_high: float


@dataclass
class Pairs:
    """A value for each pair of methods. methods: their positions."""

    methods: list[int]
    values: list[list[float]]


def histogram(one: Picked | None) -> Histogram | None:
    """Return the histogram of the scores that a subset was selected by, or None without scores."""
    if one is None or one.scores is None or not len(one.index):
        return None
    scores = one.scores
    kept = scores[one.index]
    bounds = (float(scores.min()), float(scores.max()))
    all_counts = np.histogram(scores, BINS, bounds)[0]
    kept_counts = np.histogram(kept, BINS, bounds)[0]
    return Histogram(*bounds, all_counts.tolist(), kept_counts.tolist(), float(kept.min()), float(kept.max()))


def jaccard(subsets: Sequence[Picked | None], images: int) -> Pairs:
    """Return the overlap of subsets, in 0..1: images that both keep, over those that either keeps.

    images: number of training images.
    """
    methods = {number: one for number, one in enumerate(subsets) if one}
    kept = np.zeros((len(methods), images), np.float32)
    for line, one in zip(kept, methods.values(), strict=True):
        line[one.index] = 1
    both = kept @ kept.T
    sizes = both.diagonal()
    return _pairs(methods, both / (sizes[:, None] + sizes[None] - both))


def spearman(subsets: Sequence[Picked | None]) -> Pairs:
    """Return the rank correlation of scores, in -1..1 (Spearman 1904). Equal scores share a rank.

    Methods without scores, or with the same score for all images, are left out.
    """
    from scipy.stats import rankdata

    methods = {}
    for number, one in enumerate(subsets):
        if one and one.scores is not None and np.ptp(one.scores) > 0:
            methods[number] = rankdata(one.scores).astype(np.float32)
    if not methods:
        return Pairs([], [])
    return _pairs(methods, np.atleast_2d(np.corrcoef(np.stack(list(methods.values())))))


def _pairs(methods: Iterable[int], values: Array) -> Pairs:
    return Pairs(list(methods), np.round(values.astype(np.float64), 2).tolist())
