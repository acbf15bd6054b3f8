"""Annotated: keeps the annotated images and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector


@dataclass(frozen=True, kw_only=True)
class Annotated(Selector):
    """Keep exactly the annotated images, which shows the worth of their labels alone."""

    name: ClassVar[str] = "annotated"

    def select(self, known_labels: Array, keep: int) -> Array:
        """Return int [keep], ascending. Raise PrunebenchError unless `keep` images are annotated."""
        annotated = np.flatnonzero(known_labels >= 0)
        if len(annotated) != keep:
            raise PrunebenchError(
                f"annotated keeps the {len(annotated)} annotated images, but {keep} are to be kept; "
                "set the labeler's label_fraction and the ratio so that they agree"
            )
        return annotated
