"""A view in which 30 % of the training images are corrupted, in five ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prunebench.artefacts import Array
from prunebench.parts import View, require
from prunebench_plugins.datasets import corruptions

CORRUPTIONS = ("clean", "motion_blur", "fog", "low_resolution", "rectangle", "noise")
PERCENT = 6  # of the training images, for each of the five


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

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the images, those that `corruption_of` names corrupted, and the same labels."""
        rng, fixed = np.random.default_rng(0), self.variant == "fixed"
        blurred, foggy, coarse, covered, noisy = _draw(len(images), rng)
        corrupted = images.copy()
        corrupted[blurred] = corruptions.motion_blur(images[blurred])
        corrupted[foggy] = corruptions.fog(images[foggy], fixed=fixed)
        corrupted[coarse] = corruptions.low_resolution(images[coarse])
        corrupted[covered] = corruptions.rectangle(images[covered])
        corrupted[noisy] = corruptions.noise(images[noisy], rng, fixed=fixed)
        return corrupted, labels


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
