"""Stratified: keeps images of all difficulties (CCS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import positive
from prunebench.parts.artefacts import Array
from prunebench.parts.sampling import rank_within
from prunebench_plugins.selectors.hard_cutoff import HardCutoff


def strata_of(scores: Array, strata: int) -> Array:
    """Return the stratum of each score: int [n], in 0..strata-1.

    The strata are equally wide. Each excludes its upper edge, but the last includes it.
    """
    edges = np.linspace(scores.min(), scores.max(), strata + 1)
    return np.searchsorted(edges[1:-1], scores, side="right")


def water_fill(total: int, sizes: Array) -> Array:
    """Share `total` as evenly as the sizes of the strata allow: int [strata].

    The smallest stratum comes first. Each gets an equal part of the rest, rounded down, at most its size.
    """
    budgets = np.zeros_like(sizes)
    for done, stratum in enumerate(np.argsort(sizes, kind="stable")):
        equal_part = total // (len(sizes) - done)
        budgets[stratum] = min(sizes[stratum], equal_part)
        total -= budgets[stratum]
    return budgets


@dataclass(frozen=True, kw_only=True)
class Stratified(HardCutoff):
    """Keep about equally many images of every difficulty: coverage-centric coreset selection.

    Images are drawn at random within a stratum.

    cutoff: share of all images first dropped at the hard end, in 0..ratio / 100. None = by ratio: 0.2 from
        80, 0.3 from 90, else 0.
    strata: number of equally wide intervals of scores, above 0.

    Source: Zheng et al. 2023, algorithm 1.
    """

    name: ClassVar[str] = "stratified"
    # The commands that CCS' README gives: CIFAR-10 and ImageNet at 90, ImageNet at 80.
    published: ClassVar[Mapping[int, float]] = {0: 0.0, 80: 0.2, 90: 0.3}
    strata: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("stratified.strata", self.strata)

    def select(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1."""
        left = rng.permutation(self.easier(scores, keep, rng))
        stratum = strata_of(scores[left], self.strata)
        budgets = water_fill(keep, np.bincount(stratum, minlength=self.strata))
        narrow = stratum.astype(np.min_scalar_type(self.strata))  # bytes sort far faster than int64
        return left[rank_within(narrow) < budgets[stratum]]
