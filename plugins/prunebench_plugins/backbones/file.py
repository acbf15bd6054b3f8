"""File: reads embeddings that somebody else computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbone, Pretraining
from prunebench.photos.folder import some
from prunebench.system import parquet, tables
from prunebench_plugins.columns import existing_file, npy, numbers, read_table

SUFFIXES = (".npy", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class File(Backbone):
    """One vector per image, read from a .npy, .csv or .parquet file by the names of images.

    Written as `file:PATH`. A .parquet has the vectors in a column of lists. A .csv, or a .parquet without
    lists, has a column of numbers for each dimension. Rows about other images are passed over.

    path: the file. None = not set, which `ready` refuses.
    column: the column of lists. "" = the only one.
    name_column: the column with the name of the image of each row.
    names: a .csv or .parquet with the names of the rows of a .npy. None = the .csv beside it of the same
        stem.
    """

    name: ClassVar[str] = "file"
    argument: ClassVar[str | None] = "path"
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        images=None, labels="unknown", classes=0, gpu_hours=None, source="a file, which does not say"
    )
    path: Path | None = None
    column: str = ""
    name_column: str = "file"
    names: Path | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            return
        if self.path.suffix not in SUFFIXES:
            raise PrunebenchError(f"{self.path} cannot be read: expected a file *{', *'.join(SUFFIXES)}")
        if self.column and self.path.suffix != ".parquet":
            raise PrunebenchError(
                f"file.column is {self.column!r}, but {self.path} has no columns of lists: unset it"
            )
        if self.names is not None and self.path.suffix != ".npy":
            raise PrunebenchError(
                f"file.names is '{self.names}', but {self.path} has names of its own: unset it"
            )
        if self.names is None and self.path.suffix == ".npy":
            # As a field its content is in the key.
            object.__setattr__(self, "names", self.path.with_suffix(".csv"))

    @property
    def frozen(self) -> bool:
        """Always True: nothing is trained here."""
        return True

    def ready(self) -> None:
        """Raise PrunebenchError if no file is named, or if a file is not on this machine."""
        path = existing_file(self.path, "path", SUFFIXES)
        if self.names is not None and not self.names.expanduser().is_file():
            raise PrunebenchError(
                f"{path} needs the names of its rows: there is no {self.names} with the column "
                f"{self.name_column!r}"
            )

    def embed(self, names: tuple[str, ...]) -> Array:
        """Return float32 [n, d].

        Raise PrunebenchError unless the file has one vector of finite numbers for each image.
        """
        path = existing_file(self.path, "path", SUFFIXES)
        if not names:
            raise PrunebenchError(
                f"{path} has embeddings by name, but the images of this dataset have no names"
            )
        listed, vectors = self._read(path)
        row_of: dict[str, int] = {}
        matches = tables.match(listed, names)
        for row, name in enumerate(listed):
            if name in matches and row_of.setdefault(matches[name], row) != row:
                raise PrunebenchError(f"{path} has two embeddings of {some([matches[name]])}; keep one")
        if lacking := [name for name in names if name not in row_of]:
            raise PrunebenchError(
                f"{path} has no embedding of {len(lacking)} of the {len(names)} images: {some(lacking)}"
            )
        embeddings = vectors[[row_of[name] for name in names]]
        if len(wrong := np.flatnonzero(~np.isfinite(embeddings).all(axis=1))):
            raise PrunebenchError(
                f"{path} has {len(wrong)} embeddings with numbers that are not finite: "
                f"{some([names[i] for i in wrong])}"
            )
        return embeddings

    def _read(self, path: Path) -> tuple[list[str], Array]:
        """Return the names of the rows, and their vectors: float32 [rows, d]."""
        if path.suffix == ".npy":
            return self._npy(path)
        if path.suffix == ".parquet":
            return self._parquet(path)
        columns = [name for name in tables.header(path, self.name_column) if name != self.name_column]
        return self._numbers(path, columns)

    def _npy(self, path: Path) -> tuple[list[str], Array]:
        vectors = npy(path)
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
            raise PrunebenchError(
                f"{path} holds {vectors.dtype} of shape {vectors.shape}, expected a row of numbers per image"
            )
        names = self.names
        assert names is not None  # as __post_init__ sees to
        listed: list[str] = read_table(names, self.name_column)[self.name_column].tolist()
        if len(listed) != len(vectors):
            raise PrunebenchError(
                f"{path} has {len(vectors)} rows, but {names} names {len(listed)}; name each row, in order"
            )
        return listed, vectors.astype(np.float32)

    def _parquet(self, path: Path) -> tuple[list[str], Array]:
        kinds = parquet.columns(path)
        lists = [self.column] if self.column else [name for name, kind in kinds.items() if kind == "list"]
        if len(lists) > 1:
            raise PrunebenchError(
                f"{path} has {len(lists)} columns of lists: name one with file.column, of {', '.join(lists)}"
            )
        if not lists:
            return self._numbers(path, [name for name, kind in kinds.items() if kind == "number"])
        listed: list[str] = read_table(path, self.name_column)[self.name_column].tolist()
        return listed, parquet.vectors(path, lists[0])

    def _numbers(self, path: Path, columns: list[str]) -> tuple[list[str], Array]:
        """Read a column for each dimension."""
        if not columns:
            raise PrunebenchError(f"{path} has no numbers beside the column {self.name_column!r}")
        table = read_table(path, self.name_column, *columns)
        vectors = [numbers(path, table[name], name).astype(np.float32) for name in columns]
        return table[self.name_column].tolist(), np.stack(vectors, axis=1)
