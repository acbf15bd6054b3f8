"""Known: keeps the annotated images and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector


@dataclass(frozen=True, kw_only=True)
class Known(Selector):
    """Keep exactly the annotated images, which shows the worth of their labels alone."""

    name: ClassVar[str] = "known"

    def select(self, known: Array, keep: int) -> Array:
        """Return int [keep], ascending. Raise PrunebenchError unless `keep` images are annotated."""
        annotated = np.flatnonzero(known >= 0)
        if len(annotated) != keep:
            raise PrunebenchError(
                f"known keeps the {len(annotated)} annotated images, but {keep} are to be kept; "
                "set the labeler's annotation and the ratio so that they agree"
            )
        return annotated
