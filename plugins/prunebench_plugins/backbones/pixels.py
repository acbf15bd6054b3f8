"""Pixels: no network at all, the baseline of every embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, positive
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbone
from prunebench.parts.images import Images


@dataclass(frozen=True, kw_only=True)
class Pixels(Backbone):
    """The pixels themselves, in 0..1, flattened.

    resize: side in pixels to which images are resized first. None = as they are.
    components: number of principal components, above 0, centered, not whitened, by a full singular value
        decomposition. None = all pixels.
    """

    name: ClassVar[str] = "pixels"
    resize: int | None = None
    components: int | None = None

    def __post_init__(self) -> None:
        for name in ("resize", "components"):
            value = getattr(self, name)
            if value is not None:
                positive(f"pixels.{name}", value)

    @property
    def frozen(self) -> bool:
        """True without `components`, which follow from all images."""
        return self.components is None

    def embed(self, images: Images) -> Array:
        """Return float32 [n, d], with d = channels * height * width, or `components`.

        Raise PrunebenchError if the images have fewer than `components` principal components.
        """
        array = np.asarray(images.resized(self.resize).array)  # decodes lazy images
        pixels: Array = np.divide(array.reshape(len(images), -1), 255, dtype=np.float32)
        if self.components is None:
            return pixels
        if self.components > min(pixels.shape):
            raise PrunebenchError(
                f"pixels.components is {self.components}, but {len(pixels)} images of {pixels.shape[1]} "
                f"values have at most {min(pixels.shape)}; lower it"
            )
        from sklearn.decomposition import PCA

        embeddings: Array = PCA(self.components, svd_solver="full").fit_transform(pixels)
        return embeddings
