"""Random: the baseline that every other selection has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector
from prunebench.parts.images import Images


@dataclass(frozen=True, kw_only=True)
class Random(Selector):
    """Keep images uniformly at random, without replacement.

    The subsets of one seed are nested: all are the beginning of one permutation. stream: another
    number draws independently from the same seed, which tells how much two Randoms differ by chance.
    """

    name: ClassVar[str] = "random"
    stream: int = 0

    def __post_init__(self) -> None:
        require(self.stream >= 0, "random.stream", self.stream, "0 or more")

    def select(self, images: Images, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1."""
        return rng.spawn(self.stream + 1)[-1].permutation(len(images))[:keep]
