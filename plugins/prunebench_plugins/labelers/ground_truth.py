"""Ground truth: true labels and nothing else, for fully supervised methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Labeler


@dataclass(frozen=True, kw_only=True)
class GroundTruth(Labeler):
    """The true label of every image that was paid for: by default of all.

    annotation: the share of the true labels bought, in 0..1; below 1 the other images are -1, unknown.
    """

    name: ClassVar[str] = "ground_truth"
    guesses: ClassVar[bool] = False
    annotation: float = 1.0

    def label(self, known: Array) -> Array:
        """Return int [n], the true labels, -1 where the label was not bought."""
        return known
