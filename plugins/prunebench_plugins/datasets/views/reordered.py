"""A view with the same training images in another order, on which nothing may depend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import View


@dataclass(frozen=True, kw_only=True)
class Reordered(View):
    """The training images sorted by class (`order="class"`) or shuffled with seed 0 (`"random"`).

    A folder with a folder for each class is read sorted by class. A method whose results differ between
    these views measures the position of an image. The test split stays as it is.
    """

    order: str

    def __post_init__(self) -> None:
        require(self.order in ("class", "random"), f"{self.name}.order", self.order, "'class' or 'random'")

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return all training images and their labels in the new order."""
        if self.order == "class":
            index = np.argsort(labels, kind="stable")
        else:
            index = np.random.default_rng(0).permutation(len(labels))
        return images[index], labels[index]
