"""Withheld: annotates all images but shows few labels, for methods that read the others on the side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Labeler
from prunebench.parts.sampling import draw_labels


@dataclass(frozen=True, kw_only=True)
class Withheld(Labeler):
    """The true labels of a uniform random share of the images, at the label budget of all.

    The proxy network trains on that share alone. A scorer or selector that asks for `known` reads every
    label. So the row of a method with such a leak shows its true label budget.

    annotation: always 1.
    shown: share of the images whose label is shown, in 0..1.
    """

    name: ClassVar[str] = "withheld"
    guesses: ClassVar[bool] = False
    annotation: float = 1.0
    shown: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.annotation == 1, "withheld.annotation", self.annotation, "1: it buys all, and shows some"
        )
        require(0 <= self.shown <= 1, "withheld.shown", self.shown, "in 0..1")

    def label(self, known: Array, rng: np.random.Generator) -> Array:
        """Return the true labels of floor(shown * n) random images, -1 for the others: int [n]."""
        index = draw_labels(known, self.shown, "uniform", rng)
        labels = np.full(len(known), -1)
        labels[index] = known[index]
        return labels
