"""Dyn-Unc: images whose prediction keeps moving, over the whole training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.errors import require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer
from prunebench_plugins.scorers.epochs import recorded
from prunebench_plugins.scorers.windows import over_windows


@dataclass(frozen=True, kw_only=True)
class DynUnc(Scorer):
    """Dynamic uncertainty: the mean over windows of the standard deviation of p[y].

    window: epochs per window, J; windows start at every epoch, the deviation is unbiased (J - 1).
    start: the first epoch looked at, counted from 0. epochs: only the first so many, or None for all
    that were recorded. He et al. 2024 (arXiv 2306.05175).
    """

    name: ClassVar[str] = "dyn_unc"
    window: int = 10
    start: int = 0
    epochs: int | None = None

    def __post_init__(self) -> None:
        require(self.window >= 2, "dyn_unc.window", self.window, "2 or more epochs")
        require(self.start >= 0, "dyn_unc.start", self.start, "0 or more")
        least = self.start + self.window
        fits = self.epochs is None or self.epochs >= least
        require(fits, "dyn_unc.epochs", self.epochs, f"{least} (start + window) or more, or None for all")

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`, 0 or more.

        Raise PrunebenchError where fewer than `epochs` epochs were recorded, or too few for one window.
        """
        least = self.start + self.window
        stop, field = self.epochs or max(dynamics.epochs, least), "dyn_unc.epochs"
        if self.epochs is None:
            field = "dyn_unc.start + dyn_unc.window"
        seen = recorded(dynamics.label_probability, self.start, stop, field)
        return over_windows(seen, self.window, lambda _mean, std: std.mean(axis=0))
