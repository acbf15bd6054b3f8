"""Reads scores, labels or chosen images from files of the kinds SUFFIXES, in the order of the dataset."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, require, unknown
from prunebench.parts.artefacts import Array
from prunebench.system import parquet, tables

TABLES = (".csv", ".parquet")
SUFFIXES = (".npy", *TABLES, ".pt")


@dataclass(frozen=True, kw_only=True)
class FromFile:
    """Base of the parts called `file`.

    A table is a .csv or a .parquet. Its rows without index_column or name_column are in the order of the
    dataset, as are the values of a .npy or .pt.

    column: column of a table, or entry of a dict in a .pt, with the values.
    index_column: column of a table with the index of the image of each row, from 0.
    name_column: column of a table with the name of the image of each row. Not beside `index_column`.
    label_fraction: share of the true labels that the file is based on, in 0..1. By default all.
    fingerprint: the first 8 to 64 digits of the fingerprint of the dataset. Empty = any dataset.
    """

    column: str = ""
    index_column: str = ""
    name_column: str = ""
    label_fraction: float = 1.0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        both = bool(self.index_column and self.name_column)
        require(not both, "file.name_column", self.name_column, "unset if index_column is set")
        valid = bool(re.fullmatch("([0-9a-f]{8,64})?", self.fingerprint))
        require(valid, "file.fingerprint", self.fingerprint, "8 to 64 digits of 0-9 and a-f")

    def check_columns(self, values: Path | None, members: tuple[Path, ...] = ()) -> None:
        """Raise PrunebenchError if a file is of an unknown kind, or if the columns do not fit the files.

        values: a file with one value for each image.
        members: files that list images.
        """
        paths = members if values is None else (*members, values)
        for path in paths:
            if path.suffix not in SUFFIXES:
                raise PrunebenchError(f"{path} cannot be read: expected a file *{', *'.join(SUFFIXES)}")
        table_paths = [path for path in paths if path.suffix in TABLES]
        if values in table_paths and not self.column:
            raise PrunebenchError(f"{values} is a table: name the column to read, with file.column")
        image_column = self.index_column or self.name_column
        for path in members:
            if path in table_paths and not image_column:
                raise PrunebenchError(
                    f"{path} is a table: name the column that lists the images, with file.index_column or "
                    "file.name_column"
                )
        if paths and image_column and not table_paths:
            field = "index_column" if self.index_column else "name_column"
            raise PrunebenchError(
                f"file.{field} is {image_column!r}, but {paths[0]} has no columns: unset it, or name a table"
            )
        # `column` names a column of `values`, or an entry of any .pt.
        uses_column = values in table_paths or any(path.suffix == ".pt" for path in paths)
        if paths and self.column and not uses_column:
            raise PrunebenchError(
                f"file.column is {self.column!r}, but it does not apply to {paths[0]}: unset it"
            )

    def check_fingerprint(self, path: Path, fingerprint: str) -> None:
        """Raise PrunebenchError if the file is for another dataset than this one."""
        if not fingerprint.startswith(self.fingerprint):
            raise PrunebenchError(
                f"{path} is for the dataset with fingerprint {self.fingerprint}, but this one has "
                f"{fingerprint[: max(12, len(self.fingerprint))]}; choose that dataset, or another file"
            )

    def values(
        self, path: Path, images: int, names: tuple[str, ...], parse: Callable[[Path, Array, str], Array]
    ) -> Array:
        """Return the value of each image: [images], in the order of the dataset.

        images: number of images.
        names: their names, or none.
        parse: turns a column of text into values. It gets the path, the text and the name of the column.

        Raise PrunebenchError if the file cannot be read, or if it has not one value for each image.
        """
        if path.suffix not in TABLES:
            return _of_length(path, read_array(path, self.column), images)
        columns = read_table(path, self.column, self.index_column, self.name_column)
        values = parse(path, columns[self.column], self.column)
        if not (self.index_column or self.name_column):
            return _of_length(path, values, images)
        index = self._row_images(path, columns, images, names)
        if len(missing := np.setdiff1d(np.arange(images), index)):
            name = f" ({names[missing[0]]})" if names else ""
            raise PrunebenchError(
                f"{path} has no row for {len(missing)} of the {images} training images, the first of them "
                f"image {missing[0]}{name}"
            )
        ordered = np.empty_like(values)
        ordered[index] = values
        return ordered

    def members(self, path: Path, images: int, names: tuple[str, ...], entry: str = "") -> Array:
        """Return the images that a file lists, by index, by name or as a mask: unique int [m].

        images: number of images.
        names: their names, or none.
        entry: entry of a dict in a .pt.

        Raise PrunebenchError if the file cannot be read, or if it lists something else.
        """
        if path.suffix in TABLES:
            columns = read_table(path, self.index_column, self.name_column)
            return self._row_images(path, columns, images, names)
        array = read_array(path, entry)
        if array.dtype.kind == "b":
            return np.flatnonzero(_of_length(path, array, images))
        if array.dtype.kind not in "iu":
            raise PrunebenchError(f"{path} holds {array.dtype}, expected indices (int) or a mask (bool)")
        return _unique(path, _within(path, array, images), "; a mask has to be of type bool")

    def _row_images(
        self, path: Path, columns: dict[str, Array], images: int, names: tuple[str, ...]
    ) -> Array:
        """Return the index of the image of each row: unique int [rows]."""
        if self.index_column:
            index = whole_numbers(path, columns[self.index_column], self.index_column)
            return _unique(path, _within(path, index, images))
        if not names:
            raise PrunebenchError(
                f"file.name_column is {self.name_column!r}, but the images of this dataset have no names; "
                "give their indices, with file.index_column"
            )
        positions = {name: position for position, name in enumerate(names)}
        listed = columns[self.name_column].tolist()
        matches = tables.match(listed, names)
        if unmatched := [name for name in listed if name not in matches]:
            raise PrunebenchError(
                f"{path} names {unmatched[0]!r}, which is no training image of this dataset "
                f"({len(unmatched)} such); its images have names such as {names[0]!r}"
            )
        index = np.array([positions[matches[name]] for name in listed], np.int64)
        return _unique(path, index)


def existing_file(path: Path | None, field: str, suffixes: Collection[str] = SUFFIXES) -> Path:
    """Return `path`. Raise PrunebenchError if no file is named, or if it is not on this machine.

    field: name of the field that holds `path`, for the message.
    suffixes: the kinds of files that it may name.
    """
    if path is None:
        raise PrunebenchError(
            f"file.{field} is not set: name a file *{', *'.join(suffixes)}, as in "
            f'{{part = "file", {field} = "FILE.npy"}} or --set file.{field}=FILE.npy'
        )
    if not path.expanduser().is_file():
        raise PrunebenchError(f"file.{field} is '{path}', but there is no such file")
    return path


def read_array(path: Path, entry: str = "") -> Array:
    """Read the vector in a .npy or .pt file, without running any code in it.

    entry: entry of a dict of tensors in a .pt. Empty if the .pt holds a tensor.

    Raise PrunebenchError if the file cannot be read, or if it holds no vector.
    """
    array = npy(path) if path.suffix == ".npy" else _pt(path, entry)
    if array.ndim != 1:
        raise PrunebenchError(f"{path} holds an array of shape {array.shape}, expected one of one dimension")
    return array


def npy(path: Path) -> Array:
    """Read the array in a .npy file, without running any code in it. Raise as `read_array`."""
    try:
        with path.expanduser().open("rb") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # any kind: NumPy parses the header of a damaged file as Python literals
        remedy = "save plain numbers, as np.save(FILE, np.asarray(values, float)) does"
        raise PrunebenchError(f"{path} cannot be read ({_line(error)}); {remedy}") from None
    return array


def _pt(path: Path, entry: str) -> Array:
    import torch

    remedy = "save a tensor, or a dict of tensors, with torch.save"
    try:
        # torch warns of oddities in a file that it then fails to load.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            content: Any = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except Exception:  # any kind: a damaged file fails in many ways. torch's message advises to run its code.
        raise PrunebenchError(
            f"{path} is damaged or holds more than tensors, and nothing that could run code is read; {remedy}"
        ) from None
    if isinstance(content, dict):
        entries = {str(key): value for key, value in content.items()}
        if not entry:
            raise PrunebenchError(
                f"{path} is a dict: name the entry to read, with file.column, one of {', '.join(entries)}"
            )
        if entry not in entries:
            raise unknown(f"entry of {path}", entry, entries, "file.column")
        content = entries[entry]
    elif entry:
        raise PrunebenchError(f"file.column is {entry!r}, but {path} holds no dict: unset it")
    if not isinstance(content, torch.Tensor) or content.layout != torch.strided:
        raise PrunebenchError(f"{path} holds a {type(content).__name__}, expected a plain tensor; {remedy}")
    # NumPy lacks some of torch's floats, such as bfloat16.
    tensor = content.double() if content.is_floating_point() else content
    return tensor.detach().numpy()


def read_table(path: Path, *columns: str) -> dict[str, Array]:
    """Return columns of a table as text, by name: each object [rows].

    columns: their names. Empty names are skipped.

    Raise PrunebenchError if the file is no table with these columns, as `tables.read` does.
    """
    wanted = [column for column in columns if column]
    if path.suffix == ".parquet":
        return {name: np.array(texts, object) for name, texts in parquet.read(path, wanted).items()}
    rows = [entries for _, entries in tables.read(path, *wanted)]
    texts = {}
    for position, name in enumerate(wanted):
        texts[name] = np.array([row[position] for row in rows], object)
    return texts


def whole_numbers(path: Path, text: Array, column: str) -> Array:
    """Turn a column of text into int64 [rows].

    Raise PrunebenchError if an entry is no whole number. The message says where the first such entry is.
    """
    return _numbers(path, text, column, np.int64, "whole number")


def numbers(path: Path, text: Array, column: str) -> Array:
    """Turn a column of text into float64 [rows].

    Raise PrunebenchError if an entry is no number. The message says where the first such entry is.
    """
    return _numbers(path, text, column, np.float64, "number")


def _numbers(path: Path, text: Array, column: str, kind: type, label: str) -> Array:
    try:
        return _converted(text, kind)
    except (ValueError, OverflowError):
        wrong = next(row for row in range(len(text)) if not _converts(text[row : row + 1], kind))
        place = f"row {wrong + 1}"
        if path.suffix == ".csv":  # a row may have several lines, and blank lines are no rows
            place = f"line {tables.read(path, column)[wrong][0]}"
        raise PrunebenchError(
            f"{path} has {text[wrong]!r} in {place} of column {column!r}, which is no {label}"
        ) from None


def _converts(text: Array, kind: type) -> bool:
    try:
        _converted(text, kind)
    except (ValueError, OverflowError):
        return False
    return True


def _converted(text: Array, kind: type) -> Array:
    """Turn text into numbers. Raise ValueError or OverflowError if an entry is none."""
    if any("_" in entry for entry in text):  # Python reads 1_0 as 10, as nothing else does
        raise ValueError
    return text.astype(kind)


def _of_length(path: Path, values: Array, images: int) -> Array:
    if len(values) != images:
        raise PrunebenchError(
            f"{path} holds {len(values)} values, but the dataset has {images} training images; "
            "is it for another dataset, or for another split?"
        )
    return values


def _within(path: Path, indices: Array, images: int) -> Array:
    if len(outside := indices[(indices < 0) | (indices >= images)]):
        raise PrunebenchError(
            f"{path} lists image {outside[0]}, but the images are 0..{images - 1} ({len(outside)} such); "
            "is it for another dataset, or does it count from 1?"
        )
    return indices.astype(np.int64)


def _unique(path: Path, indices: Array, hint: str = "") -> Array:
    values, counts = np.unique(indices, return_counts=True)
    if len(repeated := values[counts > 1]):
        raise PrunebenchError(
            f"{path} lists image {repeated[0]} more than once ({len(repeated)} such images){hint}"
        )
    return indices


def _line(error: BaseException) -> str:
    """Return the first line of an error, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
