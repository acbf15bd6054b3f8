"""Dyn-Unc: an image scores high if its prediction keeps moving, over the whole training."""

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

    A window starts at every epoch. The standard deviation is unbiased (divided by J - 1).

    window: epochs per window, J, 2 or more.
    start: first epoch read, counted from 0.
    epochs: epoch before which reading stops, `start` + `window` or more. None = all recorded epochs.

    Source: He et al. 2024 (arXiv 2306.05175).
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

        Raise PrunebenchError if fewer than `epochs` epochs were recorded, or too few for one window.
        """
        if self.epochs is not None:
            field = "dyn_unc.epochs"
            stop = self.epochs
        else:
            field = "dyn_unc.start + dyn_unc.window"
            stop = max(dynamics.epochs, self.start + self.window)
        series = recorded(dynamics.label_probability, self.start, stop, field)
        return over_windows(series, self.window, lambda _mean, std: std.mean(axis=0))
