"""None: predicts no label, for methods that use no labels or only the annotated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench_plugins.labelers.ground_truth import GroundTruth


@dataclass(frozen=True, kw_only=True)
class NoLabeler(GroundTruth):
    """The true labels of the annotated images, by default none, under a name that tables show as "none".

    label_fraction: label budget, as a share of the images, in 0..1.
    """

    name: ClassVar[str] = "none"
    label_fraction: float = 0.0
