"""EL2N: how far the prediction is from the label early in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import choice, require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer
from prunebench_plugins.scorers.epochs import recorded


@dataclass(frozen=True, kw_only=True)
class El2n(Scorer):
    """Euclidean distance between the predicted probabilities and the one-hot label.

    start: first epoch read, counted from 0.
    stop: epoch before which reading stops, above `start`.
    mode: "mean" of the epochs start..stop-1, or "snapshot" of epoch stop-1 alone.

    Source: Paul et al. 2021, who average ten networks at one early epoch. CCS and ELFS have one network
    and average its first ten epochs instead.
    """

    name: ClassVar[str] = "el2n"
    version: ClassVar[int] = 2
    start: int = 0
    stop: int = 10
    mode: str = "mean"

    def __post_init__(self) -> None:
        require(self.start >= 0, "el2n.start", self.start, "0 or more")
        require(self.stop > self.start, "el2n.stop", self.stop, f"above start, which is {self.start}")
        choice("el2n.mode", self.mode, ("mean", "snapshot"))

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`, in 0..sqrt(2).

        Raise PrunebenchError if fewer than `stop` epochs were recorded.
        """
        start = self.start if self.mode == "mean" else self.stop - 1
        distances = recorded(dynamics.error_norm, start, self.stop, "el2n.stop")
        mean: Array = distances.mean(axis=0, dtype=np.float64)
        return mean
