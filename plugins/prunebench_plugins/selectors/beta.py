"""Beta: DUAL's sampler, which turns to easier images the more is pruned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Grid, Selector
from prunebench_plugins.scorers.dual import EPOCHS
from prunebench_plugins.scorers.epochs import recorded

ANCHORS = 10
EDGE = 1e-6


def smallest_of_largest(values: Array, count: int) -> float:
    """Return the smallest of the `count` largest values, or of all where there are no more."""
    count = min(count, len(values))
    return float(np.partition(values, -count)[-count])


@dataclass(frozen=True, kw_only=True)
class Beta(Selector):
    """Draw without replacement, with weights score * BetaPDF(m; a, b), m the mean of p[y] so far.

    b = concentration * (1 - mu) * (1 - r ** c_d) and a = concentration + 1 - b, with r the share
    pruned and mu the mean of m over the ten highest scores. A larger c_d turns to easy images later.
    pruned: r; unset, it is ratio / 100. epochs: m is taken over the first so many, as many as
    `dual.epochs`; a tuned `epochs` sets both.
    Cho et al. 2025 (arXiv 2502.06905); SemiPrune, section 3.4.2, equation 1.
    """

    name: ClassVar[str] = "beta"
    version: ClassVar[int] = 2
    grids: ClassVar[tuple[Grid, ...]] = (EPOCHS, Grid(field="c_d", values=(3.0, 4.0, 5.0, 6.0)))
    concentration: float = 15.0
    c_d: float = 4.0
    epochs: int = 30
    pruned: float | None = None

    def __post_init__(self) -> None:
        require(self.concentration > 0, "beta.concentration", self.concentration, "above 0")
        require(self.c_d > 0, "beta.c_d", self.c_d, "above 0")
        require(self.epochs > 0, "beta.epochs", self.epochs, "above 0")
        require(self.pruned is None or 0 <= self.pruned <= 1, "beta.pruned", self.pruned, "in 0..1")

    def at(self, ratio: int) -> Self:
        """Return this selector with r set, whichever share of the images it is then shown."""
        return replace(self, pruned=ratio / 100) if self.pruned is None else self

    def select(self, scores: Array, dynamics: Dynamics, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1.

        Images the proxy network never saw get the mean m of those it saw. Images with a score of 0 or
        less have no weight: they are kept last, the highest score first. Raise PrunebenchError where
        fewer than `epochs` epochs were recorded, or where `pruned` is unset.
        """
        if self.pruned is None:
            raise PrunebenchError("beta.pruned is not set; set it, or let `at(ratio)` do so")
        ease = self._ease(dynamics)
        noise = rng.gumbel(size=len(scores))
        chance = rng.permutation(len(scores))
        hardest = np.flatnonzero(scores >= smallest_of_largest(scores, ANCHORS))
        hardest = hardest[np.lexsort((chance[hardest], -scores[hardest]))[:ANCHORS]]
        a, b = self.shape_parameters(float(ease[hardest].mean()), self.pruned)
        # The largest log weights + Gumbel noise are a draw without replacement, and nothing overflows.
        # The normaliser of the Beta density is the same for all images, so it is left out.
        keys = np.full(len(scores), -np.inf)
        np.log(scores, out=keys, where=scores > 0)
        keys += (a - 1) * np.log(ease) + (b - 1) * np.log1p(-ease) + noise
        drawn = np.flatnonzero(keys >= smallest_of_largest(keys, keep))
        order = np.argsort(-keys[drawn])
        ranked = keys[drawn][order]
        if (ranked[1:] == ranked[:-1]).any():  # as those without weight do; else one quick sort is enough
            order = np.lexsort((chance[drawn], -scores[drawn], -keys[drawn]))
        return drawn[order[:keep]]

    def shape_parameters(self, anchor: float, pruned: float) -> tuple[float, float]:
        """Return a and b of the Beta density; anchor is mu and pruned is r, both in 0..1."""
        b = self.concentration * (1 - anchor) * (1 - pruned**self.c_d)
        return self.concentration + 1 - b, b

    def _ease(self, dynamics: Dynamics) -> Array:
        """Return m for all n images, kept off 0 and 1, where the density can be infinite."""
        early = recorded(dynamics.label_probability, 0, self.epochs, "beta.epochs")
        seen = early.mean(axis=0, dtype=np.float64)
        ease = np.full(len(dynamics), seen.mean() if len(seen) else 0.5)
        ease[dynamics.index] = seen
        return ease.clip(EDGE, 1 - EDGE)
