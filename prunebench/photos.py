"""A folder of photos and what is known of them: its files, labels in a .csv, and which to label first."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from prunebench import seeds
from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.files import beside_of, near, writing
from prunebench.parts import require

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SHOWN = 5  # names that an error lists


def scan(folder: Path) -> list[str]:
    """Return the images in a folder, at whatever depth: paths below it, joined by "/", sorted.

    Files that are no images by their ending, names that begin with a dot, and links to folders are
    passed over. Nothing is opened. Raise DataAbsentError where there is no folder or no image in it.
    """
    top = folder.expanduser()
    if not top.is_dir():
        raise DataAbsentError(f"there is no folder {top}")
    try:
        names = sorted(_below(str(top)))
        "\n".join(names).encode()
    except OSError as error:
        raise PrunebenchError(f"cannot read {error.filename}: {error.strerror}") from None
    except UnicodeEncodeError:
        odd = next(name for name in names if not _is_text(name))
        raise PrunebenchError(
            f"{top} has a file whose name is no UTF-8, so no .csv can list it: {odd!r}; rename it"
        ) from None
    if not names:
        raise DataAbsentError(f"the folder {top} holds no images ({', '.join(sorted(SUFFIXES))})")
    return names


def _below(top: str) -> Iterator[str]:
    """Yield the images in a folder and the folders in it, without order."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(f"{top}/{folder}") as entries:  # which asks the disk about no single file
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{folder}{entry.name}/")
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():  # noqa: PTH122
                    yield folder + entry.name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def ordered(names: Sequence[str], seed: int) -> list[str]:
    """Return the names in the order in which to label them: one permutation for each seed."""
    return [names[place] for place in seeds.stream("photos", seed).permutation(len(names))]


def read_table(path: Path, *columns: str) -> list[list[str]]:
    """Return these columns of a .csv with a header, row by row. Blank lines are passed over.

    Raise PrunebenchError where it cannot be read, lacks a column, or has a row too short for one.
    """
    try:
        with path.expanduser().open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except OSError as error:
        raise PrunebenchError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PrunebenchError(f"{path} is no table ({error}); save it as UTF-8 with commas") from None
    header = rows[0][1] if rows else []
    if lacking := [name for name in columns if header.count(name) != 1]:
        raise PrunebenchError(
            f"{path} needs one column {lacking[0]!r}; its first line has to be {','.join(columns)}, "
            f"and is {','.join(header)!r}"
        )
    places = [header.index(name) for name in columns]
    if short := [number for number, row in rows if len(row) <= max(places)]:
        raise PrunebenchError(f"{path} has too few entries in line {short[0]} ({len(short)} such lines)")
    return [[row[place] for place in places] for _, row in rows[1:]]


def read_labels(path: Path) -> dict[str, str]:
    """Return the label of each file that has one in a .csv with the columns file and label.

    An empty label says nothing. Raise PrunebenchError as `read_table` does, and where a file has two.
    """
    found: dict[str, str] = {}
    for name, label in read_table(path, "file", "label"):
        label = label.strip()  # a space that somebody typed makes no class
        if label and found.setdefault(name, label) != label:
            raise PrunebenchError(
                f"{path} says of {name} both {found[name]!r} and {label!r}; keep one of the two"
            )
    return found


def check_files(path: Path, listed: Iterable[str], names: Iterable[str], folder: Path) -> None:
    """Raise PrunebenchError where a .csv lists files that are not among the images of the folder."""
    there = set(names)
    if strange := [name for name in listed if name not in there]:
        hint = '; paths are relative to it, with "/"' if any(map(_looks_foreign, strange)) else ""
        raise PrunebenchError(
            f"{path} lists {len(strange)} file(s) that are no images in {folder}: {some(strange)}{hint}"
        )


def _looks_foreign(name: str) -> bool:
    return "\\" in name or name.startswith(("/", "./"))


def class_names(path: Path, labels: Mapping[str, str], count: int | None = None) -> tuple[str, ...]:
    """Return the names of the classes, sorted: those in the labels, and stand-ins up to `count`.

    Raise PrunebenchError where the labels show fewer than two, or more than `count`.
    """
    seen = sorted(set(labels.values()))
    if len(seen) < 2:
        raise PrunebenchError(
            f"{path} has labels of {len(seen)} class(es), but two are needed; fill in the column label"
        )
    if count is not None and count < len(seen):
        raise PrunebenchError(f"--classes {count}: but {path} has labels of {len(seen)}: {some(seen)}")
    unseen = (f"unseen class {number}" for number in range(1, (count or 0) + 1))
    free = (name for name in unseen if name not in labels.values())
    return (*seen, *(name for name, _ in zip(free, range(len(seen), count or 0), strict=False)))


def some(names: Sequence[str]) -> str:
    """Spell the first of many names."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a .csv: one line each, with commas, ended by line feeds."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def check_writable(path: Path, option: str = "--output") -> None:
    """Raise PrunebenchError where no file can be written at `path`, before there is anything to write."""
    target = path.expanduser()
    if target.is_dir():
        raise PrunebenchError(f"{option} {path} is a folder; name a .csv in it")
    with writing(path, option):  # a disk that is not to be written says so to whoever tries
        beside = beside_of(target)
        beside.touch()
        beside.unlink()


def check_outside(folder: Path, path: Path, option: str) -> None:
    """Raise PrunebenchError for a place inside the folder, in which nothing is ever written."""
    if path.expanduser().resolve().is_relative_to(folder.expanduser().resolve()):
        raise PrunebenchError(
            f"{option} {near(path)} lies in {folder}, where nothing is written; choose another"
        )


def check_count(option: str, value: int, images: int) -> None:
    """Raise PrunebenchError unless `value` is a number of some of the images."""
    require(1 <= value <= images, option, value, f"1 to {images}, the images there are")
