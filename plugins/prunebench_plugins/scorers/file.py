"""File: scores that somebody else computed, out of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Scorer
from prunebench.parts.images import Images
from prunebench_plugins.columns import FromFile, numbers, there


@dataclass(frozen=True, kw_only=True)
class File(FromFile, Scorer):
    """One number per training image, read from a .npy, .csv or .pt file.

    path: the file. harder: which end of its numbers is the hard one, "high" or "low"; low ones, such
    as margins and times of learning, are negated. annotation: 1 where true labels were read to compute
    them, 0 where none was. The other fields are those of `FromFile`.
    """

    name: ClassVar[str] = "file"
    path: Path | None = None
    harder: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.harder in ("high", "low"), "file.harder", self.harder, "'high' or 'low'")
        self.check_columns(self.path)

    def ready(self) -> None:
        """Raise PrunebenchError where no file is named, or where it is not on this machine."""
        there(self.path, "path")

    def score(self, images: Images, names: tuple[str, ...], fingerprint: str) -> Array:
        """Return float64 [n], finite; raise PrunebenchError where the file has not one number per image."""
        path = there(self.path, "path")
        self.check_fingerprint(path, fingerprint)
        found = self.values(path, len(images), names, numbers)
        if found.dtype.kind not in "fiu":
            raise PrunebenchError(f"{path} holds {found.dtype}, expected numbers (float or int)")
        if len(wrong := np.flatnonzero(~np.isfinite(found))):
            raise PrunebenchError(
                f"{path} has {len(wrong)} scores that are not finite, the first {found[wrong[0]]} for "
                f"image {wrong[0]}; every image needs a number"
            )
        scores = found.astype(np.float64)
        return scores if self.harder == "high" else -scores
