"""File: reads scores that somebody else computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, choice
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Scorer
from prunebench.parts.images import Images
from prunebench_plugins.columns import FromFile, existing_file, numbers


@dataclass(frozen=True, kw_only=True)
class File(FromFile, Scorer):
    """One number per training image, read from a .npy, .csv, .parquet or .pt file.

    path: the file. None = not set, which `ready` refuses.
    harder: the hard end of its numbers, "high" or "low". "low" negates them, as margins and times of
        learning need.
    label_fraction: 1 if true labels were read to compute the scores, 0 if none was.

    The other fields are those of `FromFile`.
    """

    name: ClassVar[str] = "file"
    path: Path | None = None
    harder: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("file.harder", self.harder, ("high", "low"))
        self.check_columns(self.path)

    def ready(self) -> None:
        """Raise PrunebenchError if no file is named, or if it is not on this machine."""
        existing_file(self.path, "path")

    def score(self, images: Images, names: tuple[str, ...], fingerprint: str) -> Array:
        """Return float64 [n], finite.

        Raise PrunebenchError unless the file has one finite number per image and the fingerprint fits.
        """
        path = existing_file(self.path, "path")
        self.check_fingerprint(path, fingerprint)
        values = self.values(path, len(images), names, numbers)
        if values.dtype.kind not in "fiu":
            raise PrunebenchError(f"{path} holds {values.dtype}, expected numbers (float or int)")
        if len(wrong := np.flatnonzero(~np.isfinite(values))):
            raise PrunebenchError(
                f"{path} has {len(wrong)} scores that are not finite, the first {values[wrong[0]]} for "
                f"image {wrong[0]}; every image needs a number"
            )
        scores = values.astype(np.float64)
        return scores if self.harder == "high" else -scores
