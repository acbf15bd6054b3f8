"""Files of others: a column of scores, labels or chosen images, put into the order of the dataset."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, require, unknown
from prunebench.parts.artefacts import Array
from prunebench.system import tables

SUFFIXES = (".npy", ".csv", ".pt")


@dataclass(frozen=True, kw_only=True)
class FromFile:
    """What the parts called `file` share.

    column: where the values are: a column of a .csv, or an entry of a dict in a .pt. index_column,
    name_column: the column of a .csv that says which image a row is about, by index from 0 or by name;
    without one the rows stand in the order of the dataset, as the values of a .npy and a .pt do.
    annotation: the share of the true labels on which the file rests; 1 until the user says otherwise.
    fingerprint: that of the dataset the file is for, its first 8 digits or more.
    """

    column: str = ""
    index_column: str = ""
    name_column: str = ""
    annotation: float = 1.0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        one = not (self.index_column and self.name_column)
        require(one, "file.name_column", self.name_column, "unset where index_column is set")
        digits = bool(re.fullmatch("([0-9a-f]{8,64})?", self.fingerprint))
        require(digits, "file.fingerprint", self.fingerprint, "8 to 64 digits of 0-9 and a-f")

    def check_columns(self, values: Path | None, members: tuple[Path, ...] = ()) -> None:
        """Raise PrunebenchError for files of a kind that is not read, and for columns that do not fit them.

        values: a file with a value for each image. members: files that list images.
        """
        paths = (*members, *([values] if values else []))
        for path in paths:
            if path.suffix not in SUFFIXES:
                raise PrunebenchError(f"{path} is none of the files that are read: *{', *'.join(SUFFIXES)}")
        tables = [path for path in paths if path.suffix == ".csv"]
        keyed = self.index_column or self.name_column
        if values in tables and not self.column:
            raise PrunebenchError(f"{values} is a table: say with file.column which column to read")
        for path in members:
            if path in tables and not keyed:
                raise PrunebenchError(
                    f"{path} is a table: say with file.index_column or file.name_column which column lists "
                    "the images"
                )
        if paths and keyed and not tables:
            raise PrunebenchError(f"{paths[0]} has no columns, but one is called {keyed!r}: only a .csv has")
        if paths and self.column and values not in tables and all(p.suffix != ".pt" for p in paths):
            raise PrunebenchError(
                f"file.column is {self.column!r}, but {paths[0]} has no such place: unset it"
            )

    def check_fingerprint(self, path: Path, fingerprint: str) -> None:
        """Raise PrunebenchError where the dataset is not the one that the file is said to be for."""
        if not fingerprint.startswith(self.fingerprint):
            raise PrunebenchError(
                f"{path} is for the dataset with fingerprint {self.fingerprint}, but this one has "
                f"{fingerprint[: max(12, len(self.fingerprint))]}; choose that dataset, or another file"
            )

    def values(
        self, path: Path, images: int, names: tuple[str, ...], parse: Callable[[Path, Array, str], Array]
    ) -> Array:
        """Return what a file says of each image: [images]. A column of text goes through `parse`.

        Raise PrunebenchError where the file is not read, and where it has not one value for each image.
        """
        if path.suffix != ".csv":
            return _of_length(path, read_array(path, self.column), images)
        columns = read_csv(path, self.column, self.index_column, self.name_column)
        found = parse(path, columns[self.column], self.column)
        if not (self.index_column or self.name_column):
            return _of_length(path, found, images)
        places = self._places(path, columns, images, names)
        if len(lacking := np.setdiff1d(np.arange(images), places)):
            called = f" ({names[lacking[0]]})" if names else ""
            raise PrunebenchError(
                f"{path} says nothing of {len(lacking)} of the {images} training images, the first of them "
                f"image {lacking[0]}{called}"
            )
        ordered = np.empty_like(found)
        ordered[places] = found
        return ordered

    def members(self, path: Path, images: int, names: tuple[str, ...], entry: str = "") -> Array:
        """Return the images that a file lists: unique int [m]; from a mask, bool [images], or indices.

        entry: of a dict in a .pt. Raise PrunebenchError where the file is not read or lists something else.
        """
        if path.suffix == ".csv":
            return self._places(path, read_csv(path, self.index_column, self.name_column), images, names)
        found = read_array(path, entry)
        if found.dtype.kind == "b":
            return np.flatnonzero(_of_length(path, found, images))
        if found.dtype.kind not in "iu":
            raise PrunebenchError(f"{path} holds {found.dtype}, expected indices (int) or a mask (bool)")
        return _unique(path, _within(path, found, images), "; a mask has to be of type bool")

    def _places(self, path: Path, columns: dict[str, Array], images: int, names: tuple[str, ...]) -> Array:
        """Return which image each row is about: unique int [rows]."""
        if self.index_column:
            found = whole_numbers(path, columns[self.index_column], self.index_column)
            return _unique(path, _within(path, found, images))
        if not names:
            raise PrunebenchError(
                f"{path} is to be read by name_column, but the images of this dataset have no names; "
                "give their indices, with file.index_column"
            )
        place = {name: index for index, name in enumerate(names)}
        listed = columns[self.name_column].tolist()
        meant = tables.match(listed, names)
        if strange := [name for name in listed if name not in meant]:
            raise PrunebenchError(
                f"{path} names {strange[0]!r}, which is no training image of this dataset "
                f"({len(strange)} such); its images have names such as {names[0]!r}"
            )
        return _unique(path, np.array([place[meant[name]] for name in listed], np.int64))


def existing_file(path: Path | None, field: str) -> Path:
    """Return `path`; raise PrunebenchError where no file is named, or where it is not on this machine."""
    if path is None:
        raise PrunebenchError(
            f"file.{field} is not set: name a file *{', *'.join(SUFFIXES)}, as in "
            f'{{part = "file", {field} = "FILE.npy"}} or --set file.{field}=FILE.npy'
        )
    if not path.expanduser().is_file():
        raise PrunebenchError(f"file.{field} is '{path}', but there is no such file")
    return path


def read_array(path: Path, entry: str = "") -> Array:
    """Return the vector in a .npy, or in a .pt: a tensor, or the `entry` of a dict of tensors.

    Nothing in a file is run. Raise PrunebenchError where it is no such vector.
    """
    found = _npy(path) if path.suffix == ".npy" else _pt(path, entry)
    if found.ndim != 1:
        raise PrunebenchError(f"{path} holds an array of shape {found.shape}, expected one of one dimension")
    return found


def _npy(path: Path) -> Array:
    try:
        with path.expanduser().open("rb") as file:
            found: Array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # of any kind: the header of a damaged file is parsed as Python's literals
        remedy = "save plain numbers, as np.save(FILE, np.asarray(values, float)) does"
        raise PrunebenchError(f"{path} is not read ({_line(error)}); {remedy}") from None
    return found


def _pt(path: Path, entry: str) -> Array:
    import torch

    remedy = "save a tensor, or a dict of tensors, with torch.save"
    try:
        # Of what is odd in a file torch warns, and then fails.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            found: Any = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except Exception:  # of any kind where a file is damaged; torch's own advice is to let it run code
        raise PrunebenchError(
            f"{path} is damaged, or more than tensors, and nothing that could run code is read; {remedy}"
        ) from None
    if isinstance(found, dict):
        entries = {str(key): value for key, value in found.items()}
        if not entry:
            raise PrunebenchError(
                f"{path} is a dict: say with file.column which of {', '.join(entries)} to read"
            )
        if entry not in entries:
            raise unknown(f"entry of {path}", entry, entries, "file.column")
        found = entries[entry]
    elif entry:
        raise PrunebenchError(f"file.column is {entry!r}, but {path} holds no dict: unset it")
    if not isinstance(found, torch.Tensor) or found.layout != torch.strided:
        raise PrunebenchError(f"{path} holds a {type(found).__name__}, expected a plain tensor; {remedy}")
    plain = found.double() if found.is_floating_point() else found
    return plain.detach().numpy()


def read_csv(path: Path, *columns: str) -> dict[str, Array]:
    """Return columns of a .csv as text: object [rows]; see `tables.read`, which raises for what is no table.

    columns: their names; those that are empty are left out.
    """
    wanted = [column for column in columns if column]
    rows = [entries for _, entries in tables.read(path, *wanted)]
    return {name: np.array([row[place] for row in rows], object) for place, name in enumerate(wanted)}


def whole_numbers(path: Path, text: Array, column: str) -> Array:
    """Turn a column of text into int64 [rows]; raise PrunebenchError naming the first row that holds none."""
    return _numbers(path, text, column, np.int64, "whole number")


def numbers(path: Path, text: Array, column: str) -> Array:
    """Turn a column of text into float64 [rows]; errors are those of `whole_numbers`."""
    return _numbers(path, text, column, np.float64, "number")


def _numbers(path: Path, text: Array, column: str, kind: type, called: str) -> Array:
    try:
        return text.astype(kind)
    except (ValueError, OverflowError):
        row, entry = next(found for found in enumerate(text, start=2) if not _is(kind, found[1]))
        raise PrunebenchError(
            f"{path} has {entry!r} in row {row} of column {column!r}, which is no {called}"
        ) from None


def _is(kind: type, entry: str) -> bool:
    try:
        np.array([entry], object).astype(kind)
    except (ValueError, OverflowError):
        return False
    return True


def _of_length(path: Path, found: Array, images: int) -> Array:
    if len(found) != images:
        raise PrunebenchError(
            f"{path} holds {len(found)} values, but the dataset has {images} training images; "
            "is it for another dataset, or for another split?"
        )
    return found


def _within(path: Path, indices: Array, images: int) -> Array:
    if len(outside := indices[(indices < 0) | (indices >= images)]):
        raise PrunebenchError(
            f"{path} lists image {outside[0]}, but the images are 0..{images - 1} ({len(outside)} such); "
            "is it for another dataset, or does it count from 1?"
        )
    return indices.astype(np.int64)


def _unique(path: Path, indices: Array, hint: str = "") -> Array:
    values, counts = np.unique(indices, return_counts=True)
    if len(twice := values[counts > 1]):
        raise PrunebenchError(
            f"{path} lists image {twice[0]} more than once ({len(twice)} such images){hint}"
        )
    return indices


def _line(error: BaseException) -> str:
    """Return the first line of an error, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
