"""A folder of photos: its files, and their labels in a .csv."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError, require
from prunebench.photos.annotations import READERS, Given, common_folder
from prunebench.photos.formats import OF_PHONES, REMEDY, formats, unread
from prunebench.system import tables
from prunebench.system.files import beside_of, near, taken, writing

CLUTTER = frozenset({"__MACOSX", "@eaDir"})  # folders that macOS archives and Synology disks add
MISSING = frozenset({"-", "?", "n/a", "na", "nan", "none", "null"})  # how programs write an empty cell
SHOWN = 5  # names that an error lists
SEEN = 224  # pixels that most backbones see
SAMPLED = 50


@dataclass(frozen=True)
class Survey:
    """The files of a folder.

    images: paths below the folder, joined by "/", sorted.
    nameless: images whose names are not valid text. No .csv can list them.
    passed: how many possible photos were skipped, by kind.
    """

    images: list[str]
    nameless: list[str]
    passed: dict[str, int]

    @property
    def remark(self) -> str:
        """One line on the skipped files, or "" if there are none."""
        if not self.passed:
            return ""
        counts = [f"{count:,} {kind}" for kind, count in sorted(self.passed.items())]
        remedy = f"; {REMEDY}" if OF_PHONES.keys() & self.passed.keys() else ""
        return f"passed over, as they are not read: {', '.join(counts)}{remedy}"


def survey(folder: Path) -> Survey:
    """List the images of a folder, at any depth, without opening a file.

    Skips hidden names, clutter of other programs, and links to folders. A dead link counts as an image, which
    will turn out to be unreadable.

    Raise DataAbsentError if there is no such folder.
    Raise PrunebenchError if a folder below it cannot be listed.
    """
    top = folder.expanduser()
    if not os.path.isdir(top):  # noqa: PTH112 - Path raises for a name that is too long
        raise DataAbsentError(f"there is no folder {top}")
    passed: Counter[str] = Counter()
    try:
        names = sorted(_below(str(top), passed))
    except OSError as error:
        raise PrunebenchError(f"cannot read {error.filename}: {error.strerror}") from None
    images = list(filter(_is_text, names))
    return Survey(images, [name for name in names if not _is_text(name)], dict(passed))


def common_side(folder: Path, names: Sequence[str]) -> int:
    """Return the pixels to which the images of a folder are best shrunk: what backbones see, or fewer.

    It is the median of the shorter sides of SAMPLED images, spread over the names, and at most SEEN. Only
    their headers are read. Images that cannot be read do not count.
    """
    from PIL import Image

    index = np.unique(np.linspace(0, len(names) - 1, min(SAMPLED, len(names)), dtype=int))
    sides = []
    for name in (names[i] for i in index):
        with suppress(Exception), warnings.catch_warnings():  # Pillow's errors are of many classes
            warnings.simplefilter("ignore")
            with Image.open(folder.expanduser() / name) as image:
                sides.append(min(image.size))
    return min(SEEN, int(np.median(sides))) if sides else SEEN


def scan(folder: Path, on_bad: str = "fail") -> list[str]:
    """Return the images that `survey` finds.

    on_bad: "fail" refuses an image whose name is not valid text, "skip" leaves it out.

    Raise as `survey` does.
    Raise DataAbsentError if there is no image.
    """
    return listed(survey(folder), folder, on_bad)


def listed(found: Survey, folder: Path, on_bad: str) -> list[str]:
    """Return the images of a survey. Raise as `scan` does."""
    if found.nameless and on_bad == "fail":
        raise PrunebenchError(
            f"{folder} has {len(found.nameless)} file(s) whose name is no UTF-8, so no .csv can list it: "
            f"{found.nameless[0]!r}; rename it, or leave it out with --on-bad skip"
        )
    if not found.images:
        remark = f"; {found.remark}" if found.remark else ""
        raise DataAbsentError(f"the folder {folder} holds no images ({', '.join(sorted(formats()))}){remark}")
    return found.images


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was left by another program."""
    return name.startswith(".") or name in CLUTTER


def is_photo(path: str) -> bool:
    """Whether there is a file or a dead link. Opening a dead link will say why it cannot be read."""
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.exists(path))  # noqa: PTH110, PTH113, PTH114


def _below(top: str, passed: Counter[str]) -> Iterator[str]:
    """Yield the images of a folder at any depth, in no order. Count skipped files in `passed`."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(f"{top}/{folder}") as entries:  # needs no disk access for each single file
            for entry in entries:
                ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if is_clutter(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{folder}{entry.name}/")
                elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                    passed["link(s) to folders"] += 1
                elif ending in formats() and (entry.is_file(follow_symlinks=False) or is_photo(entry.path)):
                    yield folder + entry.name
                elif ending in unread() and entry.is_file(follow_symlinks=False):
                    passed[ending or "file(s) without an ending"] += 1


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_labels(path: Path) -> dict[str, str]:
    """Return the labels in a file, by image as written there. An empty label is skipped.

    path: a .csv with the columns file and label, or what another program exports: see `annotations`.

    Raise PrunebenchError as `tables.read` and the readers of `annotations` do.
    Raise PrunebenchError if a file has two labels, or a label has several lines.
    """
    labels: dict[str, str] = {}
    for where, name, label in READERS.get(path.suffix.lower(), _from_csv)(path):
        label = label.strip()  # an accidental space must not make a class of its own
        if len(label.splitlines()) > 1:
            raise PrunebenchError(
                f"{path} has a label of several lines in {where}: {label[:40]!r}; is a quote left open?"
            )
        if label and labels.setdefault(name, label) != label:
            raise _two_labels(path, name, labels[name], label)
    return labels


def _from_csv(path: Path) -> list[Given]:
    if tables.has(path, "status") and not tables.has(path, "label"):
        raise PrunebenchError(
            f"{path} is what `prune` wrote, and has no labels; `prunebench convert {path} --to csv` writes "
            "the table to fill in"
        )
    return [Given(f"line {line}", *entries) for line, entries in tables.read(path, "file", "label")]


def labels_of(path: Path, names: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the label of each labeled image of a folder.

    path: as in `read_labels`.
    names: the images of the folder.

    Raise PrunebenchError as `read_labels` and `matched` do.
    """
    listed_labels = read_labels(path)
    if path.suffix.lower() in READERS:
        names = list(names)
        before = common_folder(list(listed_labels), names)
        listed_labels = {name.removeprefix(before): label for name, label in listed_labels.items()}
    labels: dict[str, str] = {}
    for listed_name, name in matched(path, listed_labels, names, folder).items():
        label = listed_labels[listed_name]
        # Two spellings of one file may carry different labels.
        if labels.setdefault(name, label) != label:
            raise _two_labels(path, name, labels[name], label)
    return labels


def named(paths: str | Path | Sequence[str | Path]) -> str:
    """Return the name of a file as it was given, or those of several together, for messages."""
    return str(paths) if isinstance(paths, str | Path) else " with ".join(map(str, paths))


def together(paths: Sequence[Path], folder: Path, place: Path) -> Path:
    """Return a .csv with the labels of several files: the only one itself, or one in the folder `place`.

    paths: as in `read_labels`, of images of the folder.

    Raise PrunebenchError as `labels_of` does.
    Raise PrunebenchError if two files give an image different labels, or if there are too few classes.
    """
    if len(paths) == 1:
        return paths[0]
    names = survey(folder).images
    labels: dict[str, str] = {}
    source: dict[str, Path] = {}
    for path in paths:
        for name, label in labels_of(path, names, folder).items():
            if labels.setdefault(name, label) != label:
                raise PrunebenchError(
                    f"{source[name]} says of {some([name])} {labels[name]!r}, and {path} {label!r}; "
                    "keep one of the two"
                )
            source.setdefault(name, path)
    class_names(named(paths), labels)  # while the files have the names that their user knows
    return tables.filed(place, ["file", "label"], sorted(labels.items()))


def _two_labels(path: Path, name: str, first: str, second: str) -> PrunebenchError:
    return PrunebenchError(
        f"{path} says of {some([name])} both {first!r} and {second!r}; keep one of the two"
    )


def matched(path: Path, given: Iterable[str], names: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the image of the folder that each name in a .csv means. See `tables.match`.

    given: the names in the .csv.
    names: the images of the folder.

    Raise PrunebenchError if a name means no image, or may mean several.
    """
    listed_names, images = list(given), list(names)
    matches = tables.match(listed_names, images)
    if strange := [name for name in listed_names if name not in matches]:
        raise PrunebenchError(
            f"{path} lists {len(strange)} file(s) that are no images in {folder}: {some(strange)}"
            f"{_cause(strange[0], images)}"
        )
    return matches


def _cause(name: str, images: Sequence[str]) -> str:
    """Return the likely cause why a name means no image, to be added to a message, or "" if none is seen."""
    parts = name.replace("\\", "/").split("/")
    for start in range(1, len(parts)):
        if found := tables.match(["/".join(parts[start:])], images):
            return f"; names are relative to the folder: write {some([*found.values()])}"
    without_endings = {os.path.splitext(image)[0]: image for image in images}  # noqa: PTH122 - keeps the "/"
    if found := tables.match([name], without_endings):
        return f"; names have an ending: write {some([without_endings[each] for each in found.values()])}"
    return '; names are relative to the folder, with "/"' if len(parts) > 1 and not parts[0] else ""


def doubts(labels: Iterable[str]) -> list[str]:
    """Return a line for each doubt about the labels, with the reading that was assumed.

    Doubts are labels that read like an empty cell, and classes that differ in case or spaces alone.
    """
    counts = Counter(labels)
    messages = []
    if words := [name for name in sorted(counts) if name.casefold() in MISSING]:
        each = ", ".join(f"{counts[name]:,} label(s) read {name!r}" for name in words)
        messages.append(f"{each}: taken as a class; leave the cell empty where there is no label")
    spellings = defaultdict(list)
    for name in sorted(counts):
        without_case_and_spaces = "".join(name.casefold().split())
        spellings[without_case_and_spaces].append(f"{name!r} ({counts[name]:,})")
    if pairs := [" and ".join(names) for names in spellings.values() if len(names) > 1]:
        messages.append(f"{some(pairs)} differ in case or spaces alone: taken as different classes")
    return messages


def class_names(path: Path | str, labels: Mapping[str, str], count: int | None = None) -> tuple[str, ...]:
    """Return the class names in the labels, sorted, then stand-ins up to `count` classes.

    path: the file of the labels, for messages.

    Raise PrunebenchError if the labels show fewer than two classes, or more than `count`.
    """
    path = near(Path(path))
    seen = sorted(set(labels.values()))
    if not seen:
        raise PrunebenchError(f"{path} has no label; fill in the column label")
    if len(seen) == 1:
        raise PrunebenchError(
            f"{path} has labels of one class alone, {some(seen)}; label images of another, too"
        )
    if count is not None and count < len(seen):
        raise PrunebenchError(f"--classes {count}: but {path} has labels of {len(seen)}: {some(seen)}")
    if count is None:
        return tuple(seen)
    stand_ins = (f"unseen class {number}" for number in range(1, count + 1))
    unused = [name for name in stand_ins if name not in seen]
    return (*seen, *unused[: count - len(seen)])


def some(names: Sequence[str]) -> str:
    """Return the first few names in one line. A name with unprintable characters is escaped."""
    shown = (name if name.isprintable() else repr(name) for name in names[:SHOWN])
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")


def check_writable(path: Path, option: str = "--output") -> None:
    """Raise PrunebenchError if no file can be written at `path`. Call it before computing."""
    target = path.expanduser()
    if os.path.isdir(target):  # noqa: PTH112 - Path raises for a name that is too long
        raise PrunebenchError(f"{option} {path} is a folder; name a .csv in it")
    with writing(path, option):  # only an attempt shows whether a disk is writable
        folder = next(folder for folder in target.parents if folder.exists())  # the others will be made
        beside = beside_of(folder / target.name)
        beside.touch()
        beside.unlink()


def rows_there(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Return the rows of the table that is at `path`, or [] if nothing is.

    columns: of the table that is to be written there.

    Raise PrunebenchError if there is a file with other columns, which is never overwritten. Call it before
    computing.
    """
    target = path.expanduser()
    if not target.exists():
        return []
    with suppress(PrunebenchError):
        if tables.header(target, columns[0]) == list(columns):
            return [entries for _, entries in tables.read(target, *columns)]
    raise taken(path)


def check_outside(folder: Path, path: Path, option: str) -> None:
    """Raise PrunebenchError if `path` lies inside the folder. Nothing is ever written there."""
    if path.expanduser().resolve().is_relative_to(folder.expanduser().resolve()):
        raise PrunebenchError(
            f"{option} {near(path)} lies in {folder}, where nothing is written; choose another"
        )


def check_count(option: str, value: int, images: int) -> None:
    """Raise PrunebenchError unless `value` is between 1 and the number of images."""
    require(1 <= value <= images, option, value, f"1 to {images}, the images there are")
