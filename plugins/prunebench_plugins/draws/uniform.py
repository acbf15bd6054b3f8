"""Uniform: a random draw, the baseline that every other draw has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Draw


@dataclass(frozen=True, kw_only=True)
class Uniform(Draw):
    """Draw images uniformly at random, without replacement. No image is looked at.

    The draws of one seed are nested: each is the beginning of one permutation.
    """

    name: ClassVar[str] = "uniform"

    def draw(self, names: tuple[str, ...], count: int, rng: np.random.Generator) -> Array:
        """Return int [count], unique indices in 0..n-1, in the order of the draw."""
        return rng.permutation(len(names))[:count]
