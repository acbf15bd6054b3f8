"""Known: keep the images whose labels were paid for, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector


@dataclass(frozen=True, kw_only=True)
class Known(Selector):
    """Keep exactly the images whose true label was bought: what those labels are worth by themselves."""

    name: ClassVar[str] = "known"

    def select(self, known: Array, keep: int) -> Array:
        """Return int [keep], ascending; raise PrunebenchError unless `keep` labels were bought."""
        paid = np.flatnonzero(known >= 0)
        if len(paid) != keep:
            raise PrunebenchError(
                f"known keeps the {len(paid)} images with a paid label, but {keep} are to be kept; "
                "set the labeler's annotation and the ratio so that they agree"
            )
        return paid
