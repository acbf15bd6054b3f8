"""Cutoff: double-end pruning, which drops the hardest and the easiest images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench_plugins.selectors.hard_cutoff import HardCutoff


@dataclass(frozen=True, kw_only=True)
class Cutoff(HardCutoff):
    """Drop the hardest images, which are likely mislabeled, and keep the next hardest.

    Ties are broken at random.

    cutoff: share of all images dropped at the hard end, in 0..ratio / 100. None = by ratio: 0.1 from 30,
        0.2 from 50, 0.4 from 70, 0.5 from 80, 0.7 from 90, else 0.

    Source: ELFS (Zheng et al. 2025) and SemiPrune, section 3.4.1.
    """

    name: ClassVar[str] = "cutoff"
    # Median over datasets of the published cutoffs as printed (SemiPrune, table 9). With SUN397's row
    # read from the other end they would be 0.3, 0.5 and 0.6 at 50, 70 and 80.
    published: ClassVar[Mapping[int, float]] = {0: 0.0, 30: 0.1, 50: 0.2, 70: 0.4, 80: 0.5, 90: 0.7}

    def select(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1, hardest first."""
        return self.easier(scores, keep, rng)[:keep]
