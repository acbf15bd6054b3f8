"""Top: keep the hardest images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector


def hardest_first(scores: Array, rng: np.random.Generator) -> Array:
    """Return the order of `scores`, float [n], from highest to lowest: int [n], ties at random.

    Scores that count something tie in large groups, and the order of a dataset often follows its
    classes, so breaking ties by position would prefer a class.
    """
    shuffle = rng.permutation(len(scores))
    order = np.argsort(-scores)
    ordered = scores[order]
    # Most scores never tie, and then one quick sort is the whole answer.
    if (ordered[1:] == ordered[:-1]).any():
        return np.lexsort((shuffle, -scores))
    return order


@dataclass(frozen=True, kw_only=True)
class Top(Selector):
    """Keep the images with the highest scores, ties broken at random (CCS, ELFS: "monotonic")."""

    name: ClassVar[str] = "top"

    def select(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1, hardest first."""
        return hardest_first(scores, rng)[:keep]
