"""Stratified: coverage of all difficulties (CCS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.sampling import rank_within
from prunebench_plugins.selectors.hard_cutoff import HardCutoff


def strata_of(scores: Array, strata: int) -> Array:
    """Return the stratum of each score: int [n], from 0, equally wide, the last one closed."""
    edges = np.linspace(scores.min(), scores.max(), strata + 1)
    return np.searchsorted(edges[1:-1], scores, side="right")


def water_fill(total: int, sizes: Array) -> Array:
    """Share `total` as evenly as the sizes of the strata allow, the smallest stratum first: int [strata].

    Each takes all it has, or an equal part, rounded down, of what is left for it and the larger ones.
    """
    budgets = np.zeros_like(sizes)
    for place, stratum in enumerate(np.argsort(sizes, kind="stable")):
        budgets[stratum] = min(sizes[stratum], total // (len(sizes) - place))
        total -= budgets[stratum]
    return budgets


@dataclass(frozen=True, kw_only=True)
class Stratified(HardCutoff):
    """Keep about equally many images of every difficulty: coverage-centric coreset selection.

    strata: how many equally wide intervals the scores are divided into. cutoff: the share of all
    images first dropped at the hard end, from 0 to ratio / 100; unset, it follows the ratio: 0.2 from
    80, 0.3 from 90, else 0. Images are drawn at random within a stratum. Zheng et al. 2023, algorithm 1.
    """

    name: ClassVar[str] = "stratified"
    # The commands that CCS' README gives: CIFAR-10 and ImageNet at 90, ImageNet at 80.
    published: ClassVar[Mapping[int, float]] = {0: 0.0, 80: 0.2, 90: 0.3}
    strata: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.strata > 0, "stratified.strata", self.strata, "above 0")

    def select(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1."""
        left = rng.permutation(self.easier(scores, keep, rng))
        stratum = strata_of(scores[left], self.strata)
        budgets = water_fill(keep, np.bincount(stratum, minlength=self.strata))
        small = stratum.astype(np.min_scalar_type(self.strata))  # bytes are sorted far faster
        return left[rank_within(small) < budgets[stratum]]
