"""Image files with a table of their labels beside them, as `imagefolder` of Hugging Face reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ValidationError

from prunebench.errors import PrunebenchError
from prunebench.photos.folder import some
from prunebench.system import tables
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.shards import Rows, ShardedPhotos


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ShardedPhotos):
    """Image files whose labels are in metadata.csv or metadata.jsonl. Written imagefolder:PATH@PIXELS.

    The columns are file_name, relative to the folder of the table, and label. The order is that of the
    tables by path, and of the lines in each.

    Source: the builder `imagefolder` of the library `datasets`.
    """

    patterns: ClassVar[tuple[str, ...]] = ("metadata.csv", "metadata.jsonl")
    name: str = "imagefolder"

    def files(self, root: Path) -> list[Path]:
        """Return the tables of both splits, and the images in them. Raise as `rows`."""
        trees = [self.rows(split).tree for split in ("train", "test")]
        return [*super().files(root), *(tree.path / name for tree in trees for name in tree.names)]

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image. Raise as `load`."""
        return tuple(self.top / name for name in self.names(root))

    def read(self, shards: Sequence[Path]) -> Rows:
        """Return the images and labels in tables.

        Raise PrunebenchError if a table is none, or names an image twice, a file that is not there, or one
        outside of its folder.
        """
        entries = [
            (path.parent.relative_to(self.top) / name, label)
            for path in shards
            for name, label in _table(path)
        ]
        names = tuple(path.as_posix() for path, _ in entries)
        if len(set(names)) < len(names):
            raise PrunebenchError(
                f"{self.top} has tables that name an image twice, among {shards[0]} and others"
            )
        if absent := [name for name in names if not (self.top / name).is_file()]:
            raise PrunebenchError(
                f"{self.top} lacks {len(absent)} file(s) that its tables name: {some(absent)}"
            )
        tree = Tree(self.top, names, lambda name: (self.top / name).read_bytes())
        labels = np.array([label for _, label in entries], dtype=np.str_)
        return Rows(tree, names, lambda: (labels, ()))


class _Line(BaseModel):
    """A line of metadata.jsonl."""

    file_name: str
    label: str | int


def _table(path: Path) -> list[tuple[str, str]]:
    """Return the file and the label in each line of a table."""
    lines = _json_lines(path) if path.suffix == ".jsonl" else _csv_lines(path)
    for place, (name, label) in lines:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise PrunebenchError(f"{path} names {name!r} in line {place}, which leads out of its folder")
        if not label.strip():
            raise PrunebenchError(f"{path} has no label of {some([name])} in line {place}")
    if not lines:
        raise PrunebenchError(f"{path} lists no image")
    return [(name, label.strip()) for _, (name, label) in lines]


def _csv_lines(path: Path) -> list[tuple[int, tuple[str, str]]]:
    return [(place, (name, label)) for place, (name, label) in tables.read(path, "file_name", "label")]


def _json_lines(path: Path) -> list[tuple[int, tuple[str, str]]]:
    entries = []
    for place, text in enumerate(path.read_bytes().splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise PrunebenchError(
                f"{path} has a line {place} without file_name and label: {where}: {first['msg']}"
            ) from None
        entries.append((place, (line.file_name, str(line.label))))
    return entries
