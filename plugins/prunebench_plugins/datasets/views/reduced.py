"""A view with fewer training images and coarser pixels, for machines without an accelerator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import DatasetInfo, View
from prunebench_plugins.datasets.draws import draw_stratified


@dataclass(frozen=True, kw_only=True)
class Reduced(View):
    """A view with fewer training images, stratified, drawn with seed 0, and with fewer pixels.

    A pixel is the mean of the square block it covers. The test split has the same resolution and keeps all
    its images.

    images: number of training images.
    side: side of the images in pixels, a divisor of the base's.
    deviation: standard deviation of each channel after the averaging, in 0..1. The mean stays the base's.
    """

    images: int
    side: int
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        whole = self.side > 0 and self.base.resolution % self.side == 0
        require(whole, f"{self.name}.side", self.side, f"a divisor of {self.base.resolution}")

    @property
    def info(self) -> DatasetInfo:
        """`side`, the mean of the base, and `deviation`."""
        return replace(self.base.info, resolution=self.side, std=self.deviation)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return the split with averaged pixels. The training split has `images` images."""
        images, labels = super().load(root, split)
        return average_blocks(images, self.side), labels

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the drawn images and their labels. Raise PrunebenchError if the base has too few."""
        enough = self.images <= len(labels)
        require(enough, f"{self.name}.images", self.images, f"at most the {len(labels)} of {self.base.name}")
        index = draw_stratified(labels, self.images)
        return images[index], labels[index]


def average_blocks(images: Array, side: int) -> Array:
    """Shrink uint8 [n, c, h, h] to uint8 [n, c, side, side] by block means, rounded half up."""
    n, channels, resolution, _ = images.shape
    block = resolution // side
    blocks = images.reshape(n, channels, side, block, side, block)
    sums: Array = blocks.sum(axis=(3, 5), dtype=np.uint32)
    means: Array = (sums + block**2 // 2) // block**2  # integers, so the result is the same everywhere
    return means.astype(np.uint8)
