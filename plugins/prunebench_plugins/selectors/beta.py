"""Beta: DUAL's sampler. The more is pruned, the easier are the images that it prefers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError, positive, require
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Grid, Selector
from prunebench_plugins.scorers.dual import EPOCHS
from prunebench_plugins.scorers.epochs import recorded

ANCHORS = 10  # images of the highest scores, whose mean m is mu
EDGE = 1e-6  # distance of m from 0 and 1, where the density can be infinite


def smallest_of_largest(values: Array, count: int) -> float:
    """Return the smallest of the `count` largest values, or of all if there are fewer."""
    count = min(count, len(values))
    return float(np.partition(values, -count)[-count])


@dataclass(frozen=True, kw_only=True)
class Beta(Selector):
    """Draw images without replacement, with weights score * BetaPDF(m; a, b), m the mean of p[y].

    b = concentration * (1 - mu) * (1 - r ** c_d) and a = concentration + 1 - b, with r the share
    pruned and mu the mean of m over the ten highest scores.

    concentration: a + b - 1, above 0.
    c_d: exponent of r, above 0. A larger one turns to easy images at higher ratios only.
    epochs: number of epochs of which m is the mean, from the first on, above 0. As many as `dual.epochs`:
        a tuned `epochs` sets both.
    pruned: r, in 0..1. None = ratio / 100.

    Source: Cho et al. 2025 (arXiv 2502.06905) and SemiPrune, section 3.4.2, equation 1.
    """

    name: ClassVar[str] = "beta"
    version: ClassVar[int] = 2
    grids: ClassVar[tuple[Grid, ...]] = (EPOCHS, Grid(field="c_d", values=(3.0, 4.0, 5.0, 6.0)))
    concentration: float = 15.0
    c_d: float = 4.0
    epochs: int = 30
    pruned: float | None = None

    def __post_init__(self) -> None:
        positive("beta.concentration", self.concentration)
        positive("beta.c_d", self.c_d)
        positive("beta.epochs", self.epochs)
        require(self.pruned is None or 0 <= self.pruned <= 1, "beta.pruned", self.pruned, "in 0..1")

    def at(self, ratio: int) -> Self:
        """Return this selector with r set to `ratio` / 100, unless it is set.

        r stays that of the whole dataset, even if `select` is then shown a part of it.
        """
        return replace(self, pruned=ratio / 100) if self.pruned is None else self

    def select(self, scores: Array, dynamics: Dynamics, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1.

        Images that the proxy network never saw get the mean m of the seen images. Images with a score of 0
        or less have no weight. They are kept last, the highest score first.
        Raise PrunebenchError if fewer than `epochs` epochs were recorded, or if `pruned` is unset.
        """
        if self.pruned is None:
            raise PrunebenchError("beta.pruned is not set; set it, or let `at(ratio)` do so")
        ease = self._ease(dynamics)
        noise = rng.gumbel(size=len(scores))
        tie_breaks = rng.permutation(len(scores))
        hardest = np.flatnonzero(scores >= smallest_of_largest(scores, ANCHORS))
        hardest = hardest[np.lexsort((tie_breaks[hardest], -scores[hardest]))[:ANCHORS]]
        a, b = self.shape_parameters(float(ease[hardest].mean()), self.pruned)
        # The images with the largest log weight + Gumbel noise are a weighted draw without replacement.
        # Logarithms do not overflow. The normalizer of the Beta density is equal for all images, so it is
        # left out.
        keys = np.full(len(scores), -np.inf)
        np.log(scores, out=keys, where=scores > 0)
        keys += (a - 1) * np.log(ease) + (b - 1) * np.log1p(-ease) + noise
        drawn = np.flatnonzero(keys >= smallest_of_largest(keys, keep))
        order = np.argsort(-keys[drawn])
        ranked = keys[drawn][order]
        # Keys tie only for images without weight. Without a tie the sort above is enough, and faster.
        if (ranked[1:] == ranked[:-1]).any():
            order = np.lexsort((tie_breaks[drawn], -scores[drawn], -keys[drawn]))
        return drawn[order[:keep]]

    def shape_parameters(self, anchor: float, pruned: float) -> tuple[float, float]:
        """Return a and b of the Beta density.

        anchor: mu, in 0..1.
        pruned: r, in 0..1.
        """
        b = self.concentration * (1 - anchor) * (1 - pruned**self.c_d)
        return self.concentration + 1 - b, b

    def _ease(self, dynamics: Dynamics) -> Array:
        """Return m for all n images: float64 [n], at least EDGE away from 0 and 1."""
        early = recorded(dynamics.label_probability, 0, self.epochs, "beta.epochs")
        means = early.mean(axis=0, dtype=np.float64)
        ease = np.full(len(dynamics), means.mean() if len(means) else 0.5)
        ease[dynamics.index] = means
        return ease.clip(EDGE, 1 - EDGE)
