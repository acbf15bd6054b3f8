"""AUM: how far the label stayed ahead of the best other class, over all epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import choice
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer


@dataclass(frozen=True, kw_only=True)
class Aum(Scorer):
    """Area under the margin, negated: minus the mean margin of the label over all epochs.

    The margin is p[y] - max over c != y of p[c]. An image whose label never gets ahead is hard.
    The sign is flipped because every score here grows with hardness.

    margin: "probability" (SemiPrune, section 3.4.1), in -1..1, or "logit" (Pleiss et al. 2020), unbounded.
    """

    name: ClassVar[str] = "aum"
    margin: str = "probability"

    def __post_init__(self) -> None:
        choice("aum.margin", self.margin, ("probability", "logit"))

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`; in -1..1 for probabilities."""
        margin = dynamics.margin if self.margin == "probability" else dynamics.logit_margin
        mean: Array = margin.mean(axis=0, dtype=np.float64)
        return -mean
