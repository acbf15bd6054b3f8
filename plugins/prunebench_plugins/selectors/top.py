"""Top: keeps the hardest images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector


def hardest_first(scores: Array, rng: np.random.Generator) -> Array:
    """Sort the images from the highest of `scores`, float [n], to the lowest: int [n], ties at random.

    Scores that are counts tie in large groups. The order of a dataset often follows its classes, so
    breaking ties by position would prefer a class.
    """
    tie_breaks = rng.permutation(len(scores))
    order = np.argsort(-scores)
    ordered = scores[order]
    # Most scores never tie. Then the sort above is enough, and faster than lexsort.
    if (ordered[1:] == ordered[:-1]).any():
        return np.lexsort((tie_breaks, -scores))
    return order


@dataclass(frozen=True, kw_only=True)
class Top(Selector):
    """Keep the images with the highest scores. Ties are broken at random.

    CCS and ELFS call this "monotonic".
    """

    name: ClassVar[str] = "top"

    def select(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1, hardest first."""
        return hardest_first(scores, rng)[:keep]
