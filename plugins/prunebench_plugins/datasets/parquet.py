"""Parquet files with a column of images, as datasets of Hugging Face are kept on disk."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.system.parquet import reading
from prunebench_plugins.datasets.io.blocks import CHUNK_SIZE, reach
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.shards import Rows, ShardedPhotos

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Schema
    from pyarrow.parquet import ParquetFile


@dataclass(frozen=True, kw_only=True)
class Parquet(ShardedPhotos):
    """Images and labels in Parquet files, as Hugging Face writes them. Written parquet:PATH@PIXELS.

    The order is that of the sorted files, and of the rows in each. The image column is a struct of bytes and
    path, or bytes. The names of the classes are those of a ClassLabel in the schema. Images are read forward,
    a few batches at a time.

    label: column of the labels. "": the column label, or else the only ClassLabel.

    Source: the features Image and ClassLabel of the library `datasets`.
    """

    patterns: ClassVar[tuple[str, ...]] = ("*.parquet",)
    name: str = "parquet"
    label: str = ""

    def read(self, shards: Sequence[Path]) -> Rows:
        """Return the images and labels in Parquet files.

        Raise PrunebenchError if there is no pyarrow, or if a file has no such columns.
        """
        paths = {path.relative_to(self.top).as_posix(): path for path in shards}
        tables = {name: _table(path) for name, path in paths.items()}
        images = {name: _Images(paths[name], table.column) for name, table in tables.items()}
        files = tuple(f"{name}/{row}" for name, table in tables.items() for row in range(table.rows))

        def read(file: str) -> bytes:
            name, _, row = file.rpartition("/")
            return images[name].read(int(row))

        originals = [original for table in tables.values() for original in table.originals]
        return Rows(
            tree=Tree(self.top, files, read, tuple(shards)),
            names=tuple(originals) if len(set(originals)) == len(files) else files,
            read_labels=lambda: _labels(shards, self.label),
        )


@dataclass(frozen=True, eq=False)
class _Table:
    """What is known of a Parquet file before an image is read.

    column: path of the column with the bytes of the images.
    rows: number of its images.
    originals: names of the files that the images came from, [n], or [] if they are not known.
    """

    column: str
    rows: int
    originals: tuple[str, ...]


def _table(path: Path) -> _Table:
    """Return what is known of the images of a Parquet file.

    Raise PrunebenchError if it is none, or has no column of images.
    """
    with reading(path):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path, memory_map=True) as file:
            schema = file.schema_arrow
            image = _image_column(path, schema, _features(path, schema))
            fields = _fields(schema, image)
            originals = ()
            if "path" in fields:
                column = file.read(columns=[f"{image}.path"]).column(0).combine_chunks().field("path")
                originals = tuple(column.to_pylist()) if not column.null_count else ()
            return _Table(f"{image}.bytes" if fields else image, file.metadata.num_rows, originals)


def _labels(paths: Sequence[Path], label: str) -> tuple[Array, tuple[str, ...]]:
    """Return the labels in Parquet files as text, [n], and the names of the classes, or ().

    label: column of the labels, as in `Parquet`.

    Raise PrunebenchError if a file has no such column, or an image no label.
    """
    labels = []
    classes = []
    for path in paths:
        with reading(path):
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path, memory_map=True) as file:
                features = _features(path, file.schema_arrow)
                chosen = _label_column(path, file.schema_arrow, features, label)
                labels.append(_text(path, chosen, file.read(columns=[chosen]).column(0)))
        classes.append(tuple(map(str, features.get(chosen, {}).get("names") or ())))
    return np.concatenate(labels), classes[0]


def _features(path: Path, schema: Schema) -> Mapping[str, Mapping[str, Any]]:
    """Return the features of a dataset of Hugging Face by column, or {} for another Parquet file."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(written)["info"]["features"] if written != b"{}" else {}
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PrunebenchError(
            f"{path} has no features in its metadata `huggingface`, as datasets of Hugging Face have there"
        ) from None


def _fields(schema: Schema, column: str) -> list[str]:
    """Return the names of the fields of a struct, or [] for a column that is none."""
    from pyarrow import types

    kind = schema.field(column).type
    return [field.name for field in kind] if types.is_struct(kind) else []


def _image_column(path: Path, schema: Schema, features: Mapping[str, Mapping[str, Any]]) -> str:
    from pyarrow import types

    def holds_bytes(name: str) -> bool:
        kind = schema.field(name).type
        return "bytes" in _fields(schema, name) or types.is_binary(kind) or types.is_large_binary(kind)

    images = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    found = [name for name in images or schema.names if name in schema.names and holds_bytes(name)]
    if len(found) != 1:
        raise PrunebenchError(
            f"{path} has {len(found) or 'no'} columns of images, expected one of bytes, or of structs with a "
            f"field bytes; its columns are {', '.join(schema.names)}"
        )
    return found[0]


def _label_column(path: Path, schema: Schema, features: Mapping[str, Mapping[str, Any]], label: str) -> str:
    """Return the column of the labels."""
    classes = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    wanted = label or ("label" if "label" in schema.names or len(classes) != 1 else classes[0])
    if wanted not in schema.names:
        several = f"; say which of {', '.join(classes)} with `label` in a suite" if len(classes) > 1 else ""
        raise PrunebenchError(
            f"{path} has no column {wanted!r} of labels; its columns are {', '.join(schema.names)}{several}"
        )
    return wanted


def _text(path: Path, name: str, column: ChunkedArray) -> Array:
    """Return the labels of a column as text, [n]. Raise PrunebenchError if one is missing."""
    from pyarrow import string, types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        raise PrunebenchError(f"{path} has the column {name!r} of {kind}, expected whole numbers or text")
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        raise PrunebenchError(f"{path} has no label in row {row}, counted from 0 ({column.null_count} such)")
    return np.array(column.cast(string()).to_pylist(), dtype=np.str_)


class _Images:
    """The images of a Parquet file. Threads read them forward, near one another.

    path: of the file.
    column: path of the column with their bytes.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.path = path
        self.column = column
        self._lock = threading.Lock()
        self._file: ParquetFile | None = None
        self._groups: list[int] = []  # the first row of each row group, then the number of rows
        self._batches: Iterator[Any] = iter(())
        # The last batches that were read, with their first row.
        self._window: deque[tuple[int, Any]] = deque(maxlen=reach() // CHUNK_SIZE + 1)
        self._end = 0  # the row after the window

    def read(self, row: int) -> bytes:
        """Return the bytes of an image. Raise ValueError if the file holds none, but perhaps a path."""
        with self._lock:
            value = self._value(row)
        if value is None:
            raise ValueError("the table has no bytes of it")
        return bytes(value)

    def _value(self, row: int) -> Any:
        if not self._groups:
            self._open()
        group = bisect_right(self._groups, row) - 1
        is_behind = not self._window or row < self._window[0][0]
        if is_behind or self._groups[group] > self._end:
            self._start_at(group)
        while row >= self._end:
            self._advance()
        start, batch = next(part for part in reversed(self._window) if part[0] <= row)
        return batch[row - start].as_py()

    def _open(self) -> None:
        from pyarrow.parquet import ParquetFile

        self._file = ParquetFile(self.path, memory_map=True)
        metadata = self._file.metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._groups = list(accumulate(sizes, initial=0))

    def _start_at(self, group: int) -> None:
        """Read on from the first row of a row group."""
        assert self._file is not None
        groups = range(group, len(self._groups) - 1)
        self._batches = self._file.iter_batches(CHUNK_SIZE, groups, [self.column], use_threads=False)
        self._window.clear()
        self._end = self._groups[group]

    def _advance(self) -> None:
        column = next(self._batches).column(0)
        batch = column.field("bytes") if self.column.endswith(".bytes") else column
        self._window.append((self._end, batch))
        self._end += len(batch)
