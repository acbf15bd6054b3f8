"""Base of datasets whose labels, and mostly photos, are in a few files, their shards."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import is_clutter, some
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import Decoded, check_apart, decoded
from prunebench_plugins.datasets.io.square_photos import SquarePhotos
from prunebench_plugins.datasets.io.unpacked import unpacked

# As in the library `datasets`, module data_files.
WORDS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "dev"),
}


NUMBER = re.compile("[0-9]{1,9}")
PART = re.compile("(.*)-([0-9]{5})-of-([0-9]{5})(.*)")  # the name of one of several shards, on the hub


@dataclass(frozen=True, eq=False)
class Rows:
    """The n images of a split, in the order of the shards.

    tree: the images.
    names: name of each image for users.
    read_labels: returns the labels and the classes below. Photos to label may have none.
    """

    tree: Tree
    names: tuple[str, ...]
    read_labels: Callable[[], tuple[Array, tuple[str, ...]]]

    @cached_property
    def _read(self) -> tuple[Array, tuple[str, ...]]:
        return self.read_labels()

    @property
    def labels(self) -> Array:
        """The label of each image, as text, [n]. A number is the index of a class."""
        return self._read[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, or () if the shards have none but the labels."""
        return self._read[1]

    @cached_property
    def unique_labels(self) -> tuple[list[str], Array]:
        """The different labels, sorted, and the position of each image's label among them, int [n]."""
        found, positions = np.unique(self.labels, return_inverse=True)
        return found.tolist(), positions


@dataclass(frozen=True, kw_only=True)
class ShardedPhotos(SquarePhotos):
    """Images in shards, as RGB squares of `side` pixels.

    A subclass sets `patterns`, of the names of its shards, and `lists`, the names of files in the folder that
    it reads if they are there. It defines `read`.

    path: folder of the shards, at any depth. `~` is the home folder.
    """

    patterns: ClassVar[tuple[str, ...]]
    lists: ClassVar[tuple[str, ...]] = ()
    path: str

    @property
    def lineage(self) -> tuple[str, ...]:
        """Its names, then `folder`: recipes of either hold for it."""
        return (*super().lineage, "folder")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that the shards have for the classes, or else the labels of the training split."""
        rows = self.rows("train")
        if rows.classes:
            return rows.classes
        labels, _ = rows.unique_labels
        if not all(map(NUMBER.fullmatch, labels)):
            return tuple(labels)
        largest = max(map(int, labels))
        if largest >= len(rows.names):
            raise PrunebenchError(
                f"{self.top} has the label {largest}, but only {len(rows.names)} images to train on; number "
                "the classes from 0"
            )
        return tuple(map(str, range(largest + 1)))

    def read(self, shards: Sequence[Path]) -> Rows:
        """Return the images and labels in shards, without decoding any image.

        Raise PrunebenchError if a shard cannot be read, or, for the labels, if an image has none.
        """
        raise NotImplementedError

    def rows(self, split: str) -> Rows:
        """Return the images and labels of "train" or "test". Raise as `shards` and `read`."""
        shards = tuple(self.shards(split))
        return _read(self, shards, tuple(map(size_and_time, (*shards, *self._lists))))

    @property
    def _lists(self) -> list[Path]:
        return [self.top / name for name in self.lists if (self.top / name).is_file()]

    def files(self, root: Path) -> list[Path]:
        """Return the shards of both splits, and the lists. Raise DataAbsentError if a split has no shard."""
        return [*self.shards("train"), *self.shards("test"), *self._lists]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory.
        Raise as `rows`.
        Raise PrunebenchError if a label is no class.
        Raise PrunebenchError if images cannot be read and `on_bad` is "fail".
        """
        rows = self.rows(split)
        labels = self._numbered(split, rows)
        photos = self._decode(root, rows)
        return photos.images, labels[photos.kept]

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the name of each training image. Raise as `load`."""
        rows = self.rows("train")
        if self.on_bad == "fail":  # nothing is skipped: `load` has all images or fails
            return rows.names
        return tuple(rows.names[i] for i in self._decode(root, rows).kept)

    @classmethod
    def unpack(cls, path: str, root: Path) -> Path:
        """Return a folder with the training images as files. They need no labels. Raise as `unpacked`."""
        dataset = cls(path=path, side=1)  # type: ignore[call-arg] # subclasses have a name
        check_apart(root, dataset.top)
        rows = dataset.rows("train")
        return unpacked(rows.tree, rows.names, root)

    @property
    def top(self) -> Path:
        """The folder of the shards."""
        return Path(self.path).expanduser()

    def shards(self, split: str) -> list[Path]:
        """Return the shards of "train" or "test", sorted by path.

        A word in the name of a shard says its split, or else one in the name of a folder around it. Without
        shards for tests those for validation are taken. If no shard says a split, all are for training.

        Raise DataAbsentError if there is none.
        Raise PrunebenchError if the name of one says that there are more of them.
        """
        if not os.path.isdir(self.top):  # noqa: PTH112 - Path raises for a name that is too long
            raise DataAbsentError(f"there is no folder {self.top}")
        found: dict[str | None, list[Path]] = {}
        for path in sorted(path for pattern in self.patterns for path in self.top.rglob(pattern)):
            name = path.relative_to(self.top)
            if path.is_file() and not any(map(is_clutter, name.parts)):
                found.setdefault(_split_of(name), []).append(path)
        chosen = found.get(split) or (found.get("validation") if split == "test" else None)
        if split == "train" and found.keys() == {None}:
            chosen = found[None]
        if not chosen:
            raise DataAbsentError(
                f"{self.top} has no {' or '.join(self.patterns)} of the {split} split; expected {split} in "
                f"its name, or a folder {split}/ around it"
            )
        _check_whole(self.top, chosen)
        return chosen

    def _decode(self, root: Path, rows: Rows) -> Decoded:
        check_apart(root, self.top)
        return decoded(
            rows.tree, rows.tree.names, root=root, side=self.side, on_bad=self.on_bad, cache=self.cache
        )

    def _numbered(self, split: str, rows: Rows) -> Array:
        """Return the index of each label's class, int64 [n]. Raise PrunebenchError if a label is no class."""
        classes = self.classes
        label_of = {name: label for label, name in enumerate(classes)}
        found, positions = rows.unique_labels
        numbers = [int(text) if NUMBER.fullmatch(text) else label_of.get(text, -1) for text in found]
        labels = np.array(numbers, dtype=np.int64)[positions]
        wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if wrong.size:
            label = found[positions[wrong[0]]]
            raise PrunebenchError(
                f"{self.top}: image {wrong[0]} of the {split} split has the label {label!r}, which is none "
                f"of the {len(classes)} classes: {some(classes)}"
            )
        return labels


@lru_cache(maxsize=2)  # both splits of a dataset
def _read(dataset: ShardedPhotos, shards: tuple[Path, ...], _: tuple[tuple[int, int], ...]) -> Rows:
    """Return what `read` does, once for files of these sizes and times."""
    return dataset.read(shards)


def _check_whole(top: Path, shards: Sequence[Path]) -> None:
    """Raise PrunebenchError if shards are not all there, as after a download that was cut short."""
    parts = [PART.fullmatch(path.relative_to(top).as_posix()) for path in shards]
    sets = Counter((part[1], part[3], part[4]) for part in parts if part)
    for (before, total, after), count in sets.items():
        if count < int(total):
            raise PrunebenchError(
                f"{top} has {count} of the {int(total)} shards {before}-*-of-{total}{after}; get the others"
            )


def _split_of(name: Path) -> str | None:
    """Return "train", "test" or "validation", whichever the last part with such a word says, or None."""
    for part in reversed(name.with_suffix("").parts):
        words = re.split("[^a-z]+", part.lower())
        for split, known in WORDS.items():
            if any(word in known for word in words):
                return split
    return None


def size_and_time(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of modification in ns of a file."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
