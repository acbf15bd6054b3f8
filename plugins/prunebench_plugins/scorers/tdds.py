"""TDDS: an image scores high if its contribution to the training varies. Late epochs count most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer
from prunebench_plugins.scorers.epochs import recorded
from prunebench_plugins.scorers.windows import over_windows


@dataclass(frozen=True, kw_only=True)
class Tdds(Scorer):
    """Temporal dual-depth score: how much the divergence between epochs varies within a window.

    d[t] is the sum over c of |p log(p / p of the epoch before)| at epoch t. The score is the weighted sum
    over windows of the Euclidean norm of d - mean(d). A window starts at every epoch.

    epochs: number of epochs read, from the first on, T, `window` or more.
    window: epochs per window, J, 3 or more. They have J - 1 divergences.
    decay: weight of the last window, above 0, up to 1. The k-th window before it weighs
        decay * (1 - decay) ** k.

    Source: Zhang et al. 2024 (arXiv 2311.13613).
    """

    name: ClassVar[str] = "tdds"
    epochs: int = 30
    window: int = 10
    decay: float = 0.9

    def __post_init__(self) -> None:
        require(self.window >= 3, "tdds.window", self.window, "3 or more epochs")
        require(self.epochs >= self.window, "tdds.epochs", self.epochs, f"{self.window} (the window) or more")
        require(0 < self.decay <= 1, "tdds.decay", self.decay, "above 0, up to 1")

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`, 0 or more.

        Raise PrunebenchError if fewer than `epochs` epochs were recorded.
        """
        # Epoch 0 has no epoch before it, so its divergence of 0 is no measurement.
        divergence = recorded(dynamics.divergence, 1, self.epochs, "tdds.epochs")
        values = self.window - 1
        age = np.arange(self.epochs - self.window, -1, -1)
        weights = self.decay * (1.0 - self.decay) ** age
        weights *= np.sqrt(values - 1)  # from an unbiased standard deviation to a norm
        return over_windows(divergence, values, lambda _mean, std: (weights[:, None] * std).sum(axis=0))
