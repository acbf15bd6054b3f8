"""Random: the baseline that every other selector has to beat."""

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

    The subsets of one seed are nested: each is the beginning of one permutation.

    stream: number of the random stream, 0 or more. Another stream draws independently from the same seed. It
        shows how much two random selections differ by chance.
    """

    name: ClassVar[str] = "random"
    stream: int = 0

    def __post_init__(self) -> None:
        require(self.stream >= 0, "random.stream", self.stream, "0 or more")

    def select(self, images: Images, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1."""
        stream = rng.spawn(self.stream + 1)[-1]
        return stream.permutation(len(images))[:keep]
