"""Ground truth: true labels and nothing else, for fully supervised methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Labeler


@dataclass(frozen=True, kw_only=True)
class GroundTruth(Labeler):
    """The true label of every annotated image, by default of all images.

    label_fraction: label budget, as a share of the images, in 0..1. The other images get -1, unknown.
    """

    name: ClassVar[str] = "ground_truth"
    makes_pseudo_labels: ClassVar[bool] = False
    label_fraction: float = 1.0

    def label(self, known_labels: Array) -> Array:
        """Return the true labels, -1 for images that are not annotated: int [n]."""
        return known_labels
