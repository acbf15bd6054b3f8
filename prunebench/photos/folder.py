"""A folder of photos and what is known of them: its files, labels in a .csv, and which to label first."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prunebench.errors import DataAbsentError, PrunebenchError, require
from prunebench.parts import seeds
from prunebench.system import tables
from prunebench.system.files import beside_of, near, writing

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
UNREAD = frozenset(
    {
        *("", ".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl"),
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
    }
)  # endings of files that may be photos and are not read, so that their owner is told
CLUTTER = frozenset({"__MACOSX", "@eaDir"})  # what archives of macOS and disks of Synology add
MISSING = frozenset({"-", "?", "n/a", "na", "nan", "none", "null"})  # what programs write where nothing is
SHOWN = 5  # names that an error lists


@dataclass(frozen=True)
class Survey:
    """What is in a folder. images: paths below it, joined by "/", sorted.

    nameless: images whose names are no text, so that no .csv can list them. passed: how many of what else may
    be photos was passed over, by what it is.
    """

    images: list[str]
    nameless: list[str]
    passed: dict[str, int]

    @property
    def remark(self) -> str:
        """What was passed over, or "" where nothing was."""
        each = [f"{count:,} {what}" for what, count in sorted(self.passed.items())]
        return f"passed over, as they are not read: {', '.join(each)}" if each else ""


def survey(folder: Path) -> Survey:
    """Look through a folder, at whatever depth, and open nothing in it.

    Names that begin with a dot, what other programs leave beside photos, and links to folders are passed
    over. A link that leads nowhere is an image, which will turn out to be unreadable. Raise DataAbsentError
    where there is no folder, and PrunebenchError where one in it cannot be looked into.
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


def scan(folder: Path, on_bad: str = "fail") -> list[str]:
    """Return the images that `survey` finds. Raise as it does, and where there is none.

    An image whose name is no text is an error, or with on_bad="skip" left out.
    """
    return listed(survey(folder), folder, on_bad)


def listed(found: Survey, folder: Path, on_bad: str) -> list[str]:
    """Return the images of a survey; raise as `scan` does."""
    if found.nameless and on_bad == "fail":
        raise PrunebenchError(
            f"{folder} has {len(found.nameless)} file(s) whose name is no UTF-8, so no .csv can list it: "
            f"{found.nameless[0]!r}; rename it, or leave it out with --on-bad skip"
        )
    if not found.images:
        remark = f"; {found.remark}" if found.remark else ""
        raise DataAbsentError(f"the folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}){remark}")
    return found.images


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's: hidden, or left by another program."""
    return name.startswith(".") or name in CLUTTER


def is_photo(path: str) -> bool:
    """Whether there is a file, or a link that leads nowhere: opening it will say why it cannot be read."""
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.exists(path))  # noqa: PTH110, PTH113, PTH114


def _below(top: str, passed: Counter[str]) -> Iterator[str]:
    """Yield the images in a folder and the folders in it, without order; count what is passed over."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(f"{top}/{folder}") as entries:  # which asks the disk about no single file
            for entry in entries:
                ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if is_clutter(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{folder}{entry.name}/")
                elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                    passed["link(s) to folders"] += 1
                elif ending in SUFFIXES and (entry.is_file(follow_symlinks=False) or is_photo(entry.path)):
                    yield folder + entry.name
                elif ending in UNREAD and entry.is_file(follow_symlinks=False):
                    passed[ending or "file(s) without an ending"] += 1


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def ordered(names: Sequence[str], seed: int) -> list[str]:
    """Return the names in the order in which to label them: one permutation for each seed."""
    return [names[place] for place in seeds.stream("photos", seed).permutation(len(names))]


def read_labels(path: Path) -> dict[str, str]:
    """Return the labels in a .csv with the columns file and label, by file as it is spelled there.

    An empty label says nothing. Raise PrunebenchError as `tables.read` does, where a file has two labels, and
    where one has several lines.
    """
    found: dict[str, str] = {}
    for line, (name, label) in tables.read(path, "file", "label"):
        label = label.strip()  # a space that somebody typed makes no class
        if len(label.splitlines()) > 1:
            raise PrunebenchError(
                f"{path} has a label of several lines in line {line}: {label[:40]!r}; is a quote left open?"
            )
        if label and found.setdefault(name, label) != label:
            raise _two_labels(path, name, found[name], label)
    return found


def labels_of(path: Path, names: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the label of each image that has one in a .csv.

    names: the images of the folder. Raise PrunebenchError as `read_labels` and `matched` do.
    """
    as_listed = read_labels(path)
    found: dict[str, str] = {}
    for given, name in matched(path, as_listed, names, folder).items():
        if found.setdefault(name, as_listed[given]) != as_listed[given]:
            raise _two_labels(path, name, found[name], as_listed[given])
    return found


def _two_labels(path: Path, name: str, one: str, other: str) -> PrunebenchError:
    return PrunebenchError(f"{path} says of {some([name])} both {one!r} and {other!r}; keep one of the two")


def matched(path: Path, given: Iterable[str], names: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the image that each of the names given in a .csv means; see `tables.match`.

    Raise PrunebenchError where one is no image of the folder, or may be several.
    """
    wanted = list(given)
    found = tables.match(wanted, names)
    if strange := [name for name in wanted if name not in found]:
        hint = '; paths are relative to it, with "/"' if any(map(_looks_foreign, strange)) else ""
        raise PrunebenchError(
            f"{path} lists {len(strange)} file(s) that are no images in {folder}: {some(strange)}{hint}"
        )
    return found


def _looks_foreign(name: str) -> bool:
    return "\\" in name or name.startswith(("/", "./"))


def doubts(labels: Iterable[str]) -> list[str]:
    """Return a line for each way in which labels may not say what they mean, and what was assumed."""
    counts, told = Counter(labels), []
    if words := [name for name in sorted(counts) if name.casefold() in MISSING]:
        each = ", ".join(f"{counts[name]:,} label(s) read {name!r}" for name in words)
        told.append(f"{each}: taken as a class; leave the cell empty where there is no label")
    alike = defaultdict(list)
    for name in sorted(counts):
        alike["".join(name.casefold().split())].append(f"{name!r} ({counts[name]:,})")
    if pairs := [" and ".join(names) for names in alike.values() if len(names) > 1]:
        told.append(f"{some(pairs)} differ in case or spaces alone: taken as different classes")
    return told


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
    """Spell the first of many names, in one line whatever they hold."""
    shown = (name if name.isprintable() else repr(name) for name in names[:SHOWN])
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")


def check_writable(path: Path, option: str = "--output") -> None:
    """Raise PrunebenchError where no file can be written at `path`, before there is anything to write."""
    target = path.expanduser()
    if os.path.isdir(target):  # noqa: PTH112 - Path raises for a name that is too long
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
