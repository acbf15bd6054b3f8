"""None: no guesses, for methods that use no labels or only the paid ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench_plugins.labelers.ground_truth import GroundTruth


@dataclass(frozen=True, kw_only=True)
class NoLabeler(GroundTruth):
    """Ground truth as far as it was bought, by default none of it, under the name tables show."""

    name: ClassVar[str] = "none"
    annotation: float = 0.0
