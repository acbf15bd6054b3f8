"""A view with the same training images in another order. No result may depend on the order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prunebench.errors import choice
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import View


@dataclass(frozen=True, kw_only=True)
class Reordered(View):
    """A view with the training images in another order.

    If the results of a method differ between orders, it measures the position of an image. Class folders,
    for example, are read sorted by class. The test split is unchanged.

    order: "class" sorts by class. "random" shuffles with seed 0.
    """

    order: str

    def __post_init__(self) -> None:
        choice(f"{self.name}.order", self.order, ("class", "random"))

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return all training images and their labels in the new order."""
        if self.order == "class":
            index = np.argsort(labels, kind="stable")
        else:
            index = np.random.default_rng(0).permutation(len(labels))
        return images[index], labels[index]
