"""File: reads labels that somebody else made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, choice, require, unknown
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Labeler
from prunebench_plugins.columns import TABLES, FromFile, existing_file, whole_numbers


@dataclass(frozen=True, kw_only=True)
class File(FromFile, Labeler):
    """One label per training image, read from a .npy, .csv, .parquet or .pt file; -1 = unknown.

    path: the file. None = not set, which `ready` refuses.
    space: "class" = class numbers, "cluster" = numbers that name no class, "name" = class names, in a table.
    label_fraction: share of the true labels that were read to make the file, in 0..1.
    annotated: a file that lists the images of these labels. Needed if `label_fraction` is between 0 and 1,
        else refused.
    sampling: always "given": the labeler draws no labels.

    The other fields are those of `FromFile`. index_column and name_column apply to both files.
    """

    name: ClassVar[str] = "file"
    sampling: str = "given"
    path: Path | None = None
    annotated: Path | None = None
    space: str = "class"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.label_fraction <= 1, "file.label_fraction", self.label_fraction, "in 0..1")
        require(self.sampling == "given", "file.sampling", self.sampling, "'given': nothing is drawn here")
        choice("file.space", self.space, ("class", "cluster", "name"))
        self.check_columns(self.path, () if self.annotated is None else (self.annotated,))
        if self.space == "name" and self.path is not None and self.path.suffix not in TABLES:
            raise PrunebenchError(
                f"{self.path} holds no names of classes: only a table does, *{', *'.join(TABLES)}"
            )
        partly = 0 < self.label_fraction < 1
        if partly and self.annotated is None:
            raise PrunebenchError(
                f"file.label_fraction is {self.label_fraction}, but file.annotated is not set; "
                "name the file that lists the annotated images, or set label_fraction 1, which counts all"
            )
        expected = "unset if label_fraction is 0 or 1"
        require(partly or self.annotated is None, "file.annotated", str(self.annotated), expected)

    def ready(self) -> None:
        """Raise PrunebenchError if no file is named, or if one is not on this machine."""
        existing_file(self.path, "path")
        if self.annotated is not None:
            existing_file(self.annotated, "annotated")

    def annotated_images(self, images: int, names: tuple[str, ...]) -> Array:
        """Return the images listed in `annotated`: int [b].

        Raise PrunebenchError unless their number agrees with `label_fraction`.
        """
        path = existing_file(self.annotated, "annotated")
        annotated = self.members(path, images, names)
        if abs(len(annotated) - self.label_fraction * images) >= 1:
            raise PrunebenchError(
                f"{path} lists {len(annotated)} of {images} images, but file.label_fraction is "
                f"{self.label_fraction}; set it to {len(annotated) / images:.6g}"
            )
        return annotated

    def label(
        self, names: tuple[str, ...], fingerprint: str, classes: tuple[str, ...], known_labels: Array
    ) -> PseudoLabels:
        """Return the labels of the file, in the order of the dataset.

        Raise PrunebenchError unless the file has one label in -1..classes-1 for each image and the
        fingerprint fits.
        """
        path = existing_file(self.path, "path")
        self.check_fingerprint(path, fingerprint)

        def parse(path: Path, text: Array, column: str) -> Array:
            if self.space == "name":
                return _classes(path, text, classes)
            return whole_numbers(path, text, column)

        values = self.values(path, len(known_labels), names, parse)
        if values.dtype.kind not in "iu":
            raise PrunebenchError(f"{path} holds {values.dtype}, expected labels (int)")
        if len(wrong := np.flatnonzero((values < -1) | (values >= len(classes)))):
            raise PrunebenchError(
                f"{path} has label {values[wrong[0]]} for image {wrong[0]} ({len(wrong)} such), but "
                f"the labels of {len(classes)} classes are 0..{len(classes) - 1}, or -1 if unknown"
            )
        space = "cluster" if self.space == "cluster" else "class"
        return PseudoLabels(values=values.astype(np.int64), space=space)


def _classes(path: Path, text: Array, classes: tuple[str, ...]) -> Array:
    """Turn class names into class numbers: int64 [rows]. The name "-1" means unknown."""
    numbers = {"-1": -1} | {name: number for number, name in enumerate(classes)}
    if strange := [name for name in text if name not in numbers]:
        raise unknown(f"class in {path}", strange[0], classes, "prunebench list datasets")
    return np.array([numbers[name] for name in text], np.int64)
