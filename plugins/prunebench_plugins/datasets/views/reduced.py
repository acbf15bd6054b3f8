"""A view with fewer training images and coarser pixels, for machines without an accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import View
from prunebench_plugins.datasets.draws import draw_stratified


@dataclass(frozen=True, kw_only=True)
class Reduced(View):
    """`images` stratified training images of the base, seed 0, and `side` pixels instead of more.

    A pixel is the mean of the square block it covers. The test split has the same resolution and
    keeps all its images. `deviation` is the standard deviation of each channel afterwards, in 0..1:
    averaging leaves the mean of the base as it is, but not this.
    """

    images: int
    side: int
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        whole = self.side > 0 and self.base.resolution % self.side == 0
        require(whole, f"{self.name}.side", self.side, f"a divisor of {self.base.resolution}")

    @property
    def resolution(self) -> int:
        """`side`, in pixels."""
        return self.side

    @property
    def std(self) -> tuple[float, ...]:
        """`deviation`."""
        return self.deviation

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return the split with averaged pixels, the training split with `images` images only."""
        images, labels = super().load(root, split)
        return average_blocks(images, self.side), labels

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the drawn images. Raise PrunebenchError where the base has fewer."""
        enough = self.images <= len(labels)
        require(enough, f"{self.name}.images", self.images, f"at most the {len(labels)} of {self.base.name}")
        index = draw_stratified(labels, self.images)
        return images[index], labels[index]


def average_blocks(images: Array, side: int) -> Array:
    """Shrink uint8 [n, c, h, h] to uint8 [n, c, side, side]: block means, rounded half up."""
    n, channels, resolution, _ = images.shape
    block = resolution // side
    blocks = images.reshape(n, channels, side, block, side, block)
    sums: Array = blocks.sum(axis=(3, 5), dtype=np.uint32)
    means: Array = (sums + block**2 // 2) // block**2
    return means.astype(np.uint8)
