"""A view in which each class has fewer training images than the one before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import View
from prunebench.parts.sampling import share
from prunebench_plugins.datasets.draws import draw_per_class


@dataclass(frozen=True, kw_only=True)
class LongTailed(View):
    """A view with exponentially decreasing numbers of training images from the first class to the last.

    The images of a class are drawn with seed 0 and stay in the order of the base. The test split is
    unchanged.

    factor: size of the last class, relative to the largest class of the base, in (0, 1].

    Source: the long-tailed CIFAR of Y. Cui et al., arXiv 1901.05555, as used in SemiPrune, section 4.2.3.
    """

    factor: float

    def __post_init__(self) -> None:
        require(0 < self.factor <= 1, f"{self.name}.factor", self.factor, "above 0, at most 1")

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the images that remain and their labels."""
        index = draw_per_class(labels, long_tail(np.bincount(labels), self.factor))
        return images[index], labels[index]


def long_tail(sizes: Array, factor: float) -> Array:
    """Return how many images each class keeps: int [C].

    Class c keeps floor(max(sizes) * factor ** (c / (C - 1))) images, or all if it has fewer.

    sizes: int [C], C >= 2.
    factor: in (0, 1].
    """
    last = len(sizes) - 1
    largest = int(sizes.max())
    quotas = [share(largest, factor ** (c / last)) for c in range(len(sizes))]
    return np.minimum(sizes, quotas)
