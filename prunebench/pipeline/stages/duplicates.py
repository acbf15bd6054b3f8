"""Stage: the duplicates among images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Groups
from prunebench.parts.images import TOGETHER, Images
from prunebench.pipeline.context import Context
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.suites.cells import Cell

THUMBNAIL = 16  # pixels
# Of photos and of pictures of clothes, docs/photos.md has how many copies this finds, and how many others.
NEAR = 0.995


@dataclass(frozen=True, eq=False, kw_only=True)
class Duplicates(Stage):
    """Finds images with equal pixels, and images whose thumbnails correlate.

    side: of the thumbnails, in pixels. Smaller images stay as they are.
    correlation: of the pixels of two thumbnails, from which on their images are duplicates, in 0..1.
    """

    kind: ClassVar[str] = "duplicates"

    side: int
    correlation: float

    @classmethod
    def of(cls, plan: Plan, cell: Cell) -> Duplicates:
        """Return the search in the training images of a cell."""
        title = f"correlation {NEAR:g} at {THUMBNAIL} pixels"
        return plan.add(cls, cell, title=title, on_device=True, side=THUMBNAIL, correlation=NEAR)

    def compute(self, context: Context) -> tuple[Groups]:
        """Return the groups: images with equal pixels, and chains of images that correlate."""
        from prunebench.nn.neighbors import linked

        groups = equal(context.images)
        _, first = np.unique(groups, return_index=True)
        vectors = thumbnails(context.images.take(first), self.side)
        return (Groups(values=linked(vectors, self.correlation, device=context.device)[groups]),)


def equal(images: Images) -> Array:
    """Return the group of each image: int64 [n]. Images with equal pixels are of one group, 0 and up."""
    digests: list[bytes] = []
    for start in range(0, len(images), TOGETHER):  # never loads a whole memory map
        pixels = np.ascontiguousarray(images.array[start : start + TOGETHER])
        digests += (hashlib.sha256(image).digest() for image in pixels)
    return np.unique(np.array(digests, "S32"), return_inverse=True)[1].astype(np.int64)


def thumbnails(images: Images, side: int) -> Array:
    """Return small images less their mean: float32 [n, channels * side * side].

    Their cosine is their correlation, which does not change with brightness and contrast.

    side: in pixels. Smaller images stay as they are.
    """
    small = images.resized(min(side, images.resolution)).array
    vectors = np.asarray(small).reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    return vectors
