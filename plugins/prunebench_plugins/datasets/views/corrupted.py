"""A view in which 30 % of the training images are corrupted, in five ways."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prunebench.errors import choice
from prunebench.nn.corruptions import CHUNK_SIZE, NAMES, corruptions
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import View

CORRUPTIONS = ("clean", *NAMES)
PERCENT = 6  # of the training images, for each of the five


@dataclass(frozen=True, kw_only=True)
class Corrupted(View):
    """A view in which each of five corruptions is applied to 6 % of the training images, with seed 0.

    Labels and the test split are unchanged.

    variant: "reference" is bit for bit the published code. Its fog is black, and its noise wraps around.
        "fixed" corrects these two.

    Source: SemiPrune, section 4.2.2, after Moderate-DS. See the module `prunebench.nn.corruptions`.
    """

    variant: str = "reference"

    def __post_init__(self) -> None:
        choice(f"{self.name}.variant", self.variant, ("reference", "fixed"))

    @property
    def title(self) -> str:
        """Title for headings. The name alone would suggest corrupted test images."""
        mended = ", mended" if self.variant == "fixed" else ""
        return f"30 % of training images corrupted (Moderate-DS){mended}"

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the names of the base. The images stay in their order."""
        return self.base.names(root)

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the images, some of them corrupted as `corruption_of` says, and the same labels."""
        rng = np.random.default_rng(0)
        functions = corruptions(rng, fixed=self.variant == "fixed")
        corrupted = images.copy()
        for corrupt, index in zip(functions.values(), _draw(len(images), rng), strict=True):
            for start in range(0, len(index), CHUNK_SIZE):
                chunk = index[start : start + CHUNK_SIZE]
                corrupted[chunk] = corrupt(images[chunk])
        return corrupted, labels

    def corrupted(self, labels: Array) -> Array:
        """Return the corruption of each training image: int [n], an index into CORRUPTIONS, 0 = clean."""
        return corruption_of(len(labels))


def corruption_of(images: int) -> Array:
    """Return the corruption of each of `images` training images under `Corrupted`: int [images].

    The values are indices into CORRUPTIONS, 0 = clean.
    """
    kinds = np.zeros(images, dtype=np.int64)
    index = _draw(images, np.random.default_rng(0))
    kinds[index] = np.arange(1, len(CORRUPTIONS))[:, None]  # a row of the draw for each kind
    return kinds


def _draw(images: int, rng: np.random.Generator) -> Array:
    """Draw the images to corrupt: int [5, images * 6 // 100], a row for each corruption.

    This is one draw without replacement, cut into rows. The order within a row matters: `noise` draws from
    the same generator, one image of the last row after another.
    """
    each = images * PERCENT // 100
    return rng.choice(images, 5 * each, replace=False).reshape(5, each)
