"""AUM: how far the label stayed ahead of the best other class over the whole training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer


@dataclass(frozen=True, kw_only=True)
class Aum(Scorer):
    """Area under the margin, negated: minus the mean over all epochs of the margin of the label.

    margin: "probability", p[y] - max over c != y of p[c], in -1..1 (SemiPrune, section 3.4.1), or
    "logit", the same on logits (Pleiss et al. 2020). Negated because an image whose label
    never gets ahead is hard, and every score here grows with hardness.
    """

    name: ClassVar[str] = "aum"
    margin: str = "probability"

    def __post_init__(self) -> None:
        allowed = self.margin in ("probability", "logit")
        require(allowed, "aum.margin", self.margin, "'probability' or 'logit'")

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`; in -1..1 for probabilities."""
        margin = dynamics.margin if self.margin == "probability" else dynamics.logit_margin
        mean: Array = margin.mean(axis=0, dtype=np.float64)
        return -mean
