"""A view in which 30 % of the training images are corrupted, in five ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import View
from prunebench_plugins.datasets.views import corruptions

CORRUPTIONS = ("clean", "motion_blur", "fog", "low_resolution", "rectangle", "noise")
PERCENT = 6  # of the training images, for each of the five
TOGETHER = 500  # images in float64 at a time; has no effect on the result


@dataclass(frozen=True, kw_only=True)
class Corrupted(View):
    """Training images of which five times 6 % are corrupted, each in one way, with seed 0.

    variant: "reference" is bit-faithful to the published code, whose fog is black and whose noise
    wraps around; "fixed" mends these two. Labels and the test split stay as they are. Source:
    SemiPrune, section 4.2.2, after Moderate-DS; see the module `corruptions`.
    """

    variant: str = "reference"

    def __post_init__(self) -> None:
        expected = "'reference' or 'fixed'"
        require(self.variant in ("reference", "fixed"), f"{self.name}.variant", self.variant, expected)

    @property
    def title(self) -> str:
        """What it is; the name alone would suggest a benchmark with corrupted test images."""
        mended = ", mended" if self.variant == "fixed" else ""
        return f"30 % of training images corrupted (Moderate-DS){mended}"

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the names of the base: the images stay in their order."""
        return self.base.names(root)

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the images, those that `corruption_of` names corrupted, and the same labels."""
        rng, fixed = np.random.default_rng(0), self.variant == "fixed"
        ways: tuple[Callable[[Array], Array], ...] = (
            corruptions.motion_blur,
            partial(corruptions.fog, fixed=fixed),
            corruptions.low_resolution,
            corruptions.rectangle,
            partial(corruptions.noise, rng=rng, fixed=fixed),
        )
        corrupted = images.copy()
        for corrupt, drawn in zip(ways, _draw(len(images), rng), strict=True):
            for start in range(0, len(drawn), TOGETHER):
                part = drawn[start : start + TOGETHER]
                corrupted[part] = corrupt(images[part])
        return corrupted, labels

    def corrupted(self, labels: Array) -> Array:
        """Return how each training image is corrupted: int [n], 0 = clean, else its place in CORRUPTIONS."""
        return corruption_of(len(labels))


def corruption_of(images: int) -> Array:
    """Return how `Corrupted` treats each of `images` training images: int [images].

    The values are indices into CORRUPTIONS, 0 = clean.
    """
    found = np.zeros(images, dtype=np.int64)
    found[_draw(images, np.random.default_rng(0))] = np.arange(1, len(CORRUPTIONS))[:, None]
    return found


def _draw(images: int, rng: np.random.Generator) -> Array:
    """Draw the images to corrupt: int [5, images * 6 // 100], a row for each corruption.

    One draw without replacement, cut into rows. Its order counts: the noise is drawn after it from
    the same generator, for the images of the last row one after another.
    """
    each = images * PERCENT // 100
    return rng.choice(images, 5 * each, replace=False).reshape(5, each)
