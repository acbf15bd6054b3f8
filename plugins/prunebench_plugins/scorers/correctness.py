"""Correctness: how often the training pass predicted the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer


@dataclass(frozen=True, kw_only=True)
class Correctness(Scorer):
    """Minus the share of all epochs in which the label was the most probable class.

    An image that is seldom predicted correctly is hard. The sign is flipped because every score here grows
    with hardness.

    Source: Swayamdipta et al. 2020 (arXiv 2009.10795), section 2.
    """

    name: ClassVar[str] = "correctness"

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`, in -1..0."""
        share: Array = dynamics.correct.mean(axis=0, dtype=np.float64)
        return 0 - share  # -share would be -0.0 for an image that was never predicted correctly
