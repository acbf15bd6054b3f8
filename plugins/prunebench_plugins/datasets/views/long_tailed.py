"""A view in which the classes grow rarer and rarer."""

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
    """Training images thinned exponentially, class by class, to `factor` of the largest at the last.

    factor is in (0, 1]: 0.1 leaves the last class a tenth. The images of a class are drawn with
    seed 0 and stay in the order of the base; the test split stays whole. Source: the long-tailed
    CIFAR of Y. Cui et al., arXiv 1901.05555; used in SemiPrune, section 4.2.3.
    """

    factor: float

    def __post_init__(self) -> None:
        require(0 < self.factor <= 1, f"{self.name}.factor", self.factor, "above 0, at most 1")

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the images of the tail and their labels."""
        index = draw_per_class(labels, long_tail(np.bincount(labels), self.factor))
        return images[index], labels[index]


def long_tail(sizes: Array, factor: float) -> Array:
    """Return how many images each class keeps: int [classes].

    Class c of C keeps floor(max(sizes) * factor ** (c / (C - 1))), at most what it has. sizes: int
    [classes], C >= 2.
    """
    last = len(sizes) - 1
    law = [share(int(sizes.max()), factor ** (c / last)) for c in range(len(sizes))]
    return np.minimum(sizes, law)
