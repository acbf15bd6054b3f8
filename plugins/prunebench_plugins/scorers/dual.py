"""DUAL: an image scores high if it is difficult and its prediction still moves early in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.errors import positive, require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Grid, Scorer
from prunebench_plugins.scorers.epochs import recorded
from prunebench_plugins.scorers.windows import over_windows

# The grid of the released code, which tries it on the hardest images at ratio 30.
# 100 is left out: no recipe of that code trains so long.
EPOCHS = Grid(field="epochs", values=(30, 40, 50, 60, 70, 80, 90), at_most="epochs", ratios=(30,), top=True)


@dataclass(frozen=True, kw_only=True)
class Dual(Scorer):
    """Difficulty times uncertainty: the mean over windows of std ** exponent * (1 - mean) of p[y].

    A window starts at every epoch. The standard deviation is unbiased (divided by J - 1).

    window: epochs per window, J, 2 or more.
    epochs: number of epochs read, from the first on, T, `window` or more.
    exponent: power of the standard deviation, above 0, for noisy labels. 1 is the original.

    Source: Cho et al. 2025 (arXiv 2502.06905). The exponent is from SemiPrune, section 3.4.2.
    """

    name: ClassVar[str] = "dual"
    grids: ClassVar[tuple[Grid, ...]] = (EPOCHS,)
    window: int = 10
    epochs: int = 30
    exponent: float = 1.0

    def __post_init__(self) -> None:
        require(self.window >= 2, "dual.window", self.window, "2 or more epochs")
        require(self.epochs >= self.window, "dual.epochs", self.epochs, f"{self.window} (the window) or more")
        positive("dual.exponent", self.exponent)

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one score per image in `dynamics.index`, 0 or more.

        Raise PrunebenchError if fewer than `epochs` epochs were recorded.
        """
        early = recorded(dynamics.label_probability, 0, self.epochs, "dual.epochs")
        return over_windows(early, self.window, self._score)

    def _score(self, mean: Array, std: Array) -> Array:
        """Score b images by the mean and deviation of their windows, each [windows, b]: float64 [b]."""
        scores: Array = (std**self.exponent * (1 - mean)).mean(axis=0)
        return scores
