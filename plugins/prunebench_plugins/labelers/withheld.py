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

    The proxy network trains on that share alone. A scorer or selector that asks for `known_labels` reads
    every label. So the row of a method with such a leak shows its true label budget.

    label_fraction: always 1.
    shown: share of the images whose label is shown, in 0..1.
    """

    name: ClassVar[str] = "withheld"
    makes_pseudo_labels: ClassVar[bool] = False
    label_fraction: float = 1.0
    shown: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.label_fraction == 1,
            "withheld.label_fraction",
            self.label_fraction,
            "1: all are annotated, and some shown",
        )
        require(0 <= self.shown <= 1, "withheld.shown", self.shown, "in 0..1")

    def label(self, known_labels: Array, rng: np.random.Generator) -> Array:
        """Return the true labels of floor(shown * n) random images, -1 for the others: int [n]."""
        index = draw_labels(known_labels, self.shown, "uniform", rng)
        labels = np.full(len(known_labels), -1)
        labels[index] = known_labels[index]
        return labels
