"""File: labels that somebody else gave, out of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require, unknown
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Labeler
from prunebench_plugins.columns import FromFile, there, whole_numbers


@dataclass(frozen=True, kw_only=True)
class File(FromFile, Labeler):
    """One label per training image, read from a .npy, .csv or .pt file; -1 = unknown.

    path: the file. space: what it holds: "class", the numbers of classes; "cluster", numbers that name
    no class; "name", in a .csv, the names of classes. annotation: the share of the true labels that
    were read to make it; between 0 and 1 `paid` is a file that lists these images. The other fields are
    those of `FromFile`, whose index_column and name_column hold for both files.
    """

    name: ClassVar[str] = "file"
    sampling: str = "given"
    path: Path | None = None
    paid: Path | None = None
    space: str = "class"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.annotation <= 1, "file.annotation", self.annotation, "in 0..1")
        require(self.sampling == "given", "file.sampling", self.sampling, "'given': nothing is drawn here")
        spaces = ("class", "cluster", "name")
        require(self.space in spaces, "file.space", self.space, "'class', 'cluster' or 'name'")
        self.check_columns(self.path, () if self.paid is None else (self.paid,))
        if self.space == "name" and self.path is not None and self.path.suffix != ".csv":
            raise PrunebenchError(f"{self.path} holds no names of classes: only a .csv does")
        some = 0 < self.annotation < 1
        if some and self.paid is None:
            raise PrunebenchError(
                f"file.annotation is {self.annotation}: say with file.paid which images these labels are of, "
                "for the ledger; without knowing, annotation 1 counts all of them"
            )
        expected = "unset where annotation is 0 or 1"
        require(some or self.paid is None, "file.paid", str(self.paid), expected)

    def ready(self) -> None:
        """Raise PrunebenchError where no file is named, or where one is not on this machine."""
        there(self.path, "path")
        if self.paid is not None:
            there(self.paid, "paid")

    def bought(self, images: int, names: tuple[str, ...]) -> Array:
        """Return the images listed in `paid`, int [b]; raise PrunebenchError unless `annotation` says so."""
        path = there(self.paid, "paid")
        paid = self.members(path, images, names)
        if abs(len(paid) - self.annotation * images) >= 1:
            raise PrunebenchError(
                f"{path} lists {len(paid)} of {images} images, but file.annotation is "
                f"{self.annotation}; set it to {len(paid) / images:.6g}"
            )
        return paid

    def label(
        self, names: tuple[str, ...], fingerprint: str, classes: tuple[str, ...], known: Array
    ) -> PseudoLabels:
        """Return the labels as the file has them, and as paid what was bought to make it.

        Raise PrunebenchError where the file has not one label for each image, in -1..classes-1.
        """
        path = there(self.path, "path")
        self.check_fingerprint(path, fingerprint)

        def numbered(path: Path, text: Array, column: str) -> Array:
            return (
                _classes(path, text, classes) if self.space == "name" else whole_numbers(path, text, column)
            )

        values = self.values(path, len(known), names, numbered)
        if values.dtype.kind not in "iu":
            raise PrunebenchError(f"{path} holds {values.dtype}, expected labels (int)")
        if len(wrong := np.flatnonzero((values < -1) | (values >= len(classes)))):
            raise PrunebenchError(
                f"{path} has label {values[wrong[0]]} for image {wrong[0]} ({len(wrong)} such), but "
                f"the labels of {len(classes)} classes are 0..{len(classes) - 1}, and -1 where unknown"
            )
        space = "cluster" if self.space == "cluster" else "class"
        return PseudoLabels(values=values.astype(np.int64), space=space)


def _classes(path: Path, text: Array, classes: tuple[str, ...]) -> Array:
    """Turn the names of classes into their numbers, int64 [rows]; -1 stands for an unknown one."""
    place = {"-1": -1} | {name: number for number, name in enumerate(classes)}
    if strange := [name for name in text if name not in place]:
        raise unknown(f"class in {path}", strange[0], classes, "prunebench list datasets")
    return np.array([place[name] for name in text], np.int64)
