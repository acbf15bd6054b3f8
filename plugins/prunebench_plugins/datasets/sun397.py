"""SUN397: photos of three hundred and ninety-seven kinds of places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.draws import draw_stratified
from prunebench_plugins.datasets.io.archives import Archive
from prunebench_plugins.datasets.io.copies import (
    Tree,
    check_digest,
    check_spread,
    check_there,
    folder_tree,
    text_lines,
)
from prunebench_plugins.datasets.io.photo_dataset import PhotoDataset, Split
from prunebench_plugins.datasets.photo_classes import SUN397

# Each with its SHA256 in tensorflow-datasets 1.3 to 4.9.
LISTS = {
    "train": ("sun397_tfds_tr.txt", "764d9aa5c7b67a12b1a5ef784656a84f6a3a3cc0383ce9dc7acc59e3efd45791"),
    "test": ("sun397_tfds_te.txt", "e172ef48fe5e94e26b698b0cdc56d9e100ae072eeb44d2e9e9e5bc289337fccc"),
}


@dataclass(frozen=True, kw_only=True)
class Sun397(PhotoDataset):
    """76,128 training and 21,750 test images, colour, of any size, 397 classes of unequal size.

    partition: "tfds" is the split of TensorFlow Datasets, whose two lists have to be there; "seeded" draws
    as many images, each class in proportion, with seed 0. About 10,875 images are in neither split. Images
    are ordered by class, then file name. images: how many there are; class_sizes: the least and the most
    in a class. Source: J. Xiao et al., SUN Database: Large-scale Scene Recognition from Abbey to Zoo, CVPR
    2010.
    """

    folders: ClassVar[tuple[str, ...]] = ("SUN397", "sun397", "sun397/SUN397", "SUN397/SUN397")
    needed: ClassVar[tuple[str, ...]] = tuple(sorted({name[0] for name in SUN397}))
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            name="SUN397.tar.gz",
            folder="SUN397",
            members=115_000,
            size=64 * 2**30,
            digest="8ca2778205c41d23104230ba66911c7a",
        ),
    )
    packed: ClassVar[tuple[str, ...]] = (".", "sun397")
    remedy: ClassVar[str] = (
        "put SUN397.tar.gz, packed or unpacked, into {root}; its server is gone, see docs/datasets.md"
    )

    name: str = "sun397"
    partition: str = "tfds"
    images: int = 108_754
    train_images: int = 76_128
    test_images: int = 21_750
    class_sizes: tuple[int, int] = (100, 2361)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.partition in ("tfds", "seeded")
        require(known, f"{self.name}.partition", self.partition, "'tfds' or 'seeded'")

    @property
    def classes(self) -> tuple[str, ...]:
        """The folders of the classes without the letter that they lie under, such as apse/indoor."""
        return SUN397

    def files(self, root: Path) -> list[Path]:
        """Return the lists and all images. Raise DataAbsentError where one of them is missing."""
        place = self.place(root)
        lists = [self._list(root, place, split) for split in LISTS] if self.partition == "tfds" else []
        return [*lists, *(place / name for name in sorted(self._tree(place).names))]

    def split(self, root: Path, split: str) -> Split:
        """Return the images that the list of the split names, or that are drawn for it."""
        place = self.place(root)
        tree = self._tree(place)
        if self.partition == "tfds":
            return self._listed(tree, self._list(root, place, split), split)
        files, labels = _ordered(tree.names, f"{place}")
        check_spread(labels, self.classes, self.images, *self.class_sizes, f"{place}")
        return _chosen(tree, files, labels, self._drawn(labels)[split])

    def _listed(self, tree: Tree, where: Path, split: str) -> Split:
        name, digest = LISTS[split]
        content = where.read_bytes()
        if self.verify:
            check_digest(content, digest, f"{where}")
        lines = {line.strip().lstrip("/") for line in text_lines(content)} - {""}
        files, labels = _ordered(lines, f"{where}")
        total = self.train_images if split == "train" else self.test_images
        check_spread(labels, self.classes, total, 1, total, f"{where}")
        check_there(tree, files, name)
        return _chosen(tree, files, labels, np.arange(total))

    def _drawn(self, labels: Array) -> dict[str, Array]:
        """Return which of all images are in each split, ascending."""
        train = draw_stratified(labels, self.train_images)
        rest = np.setdiff1d(np.arange(len(labels)), train)
        return {"train": train, "test": rest[draw_stratified(labels[rest], self.test_images)]}

    def _tree(self, place: Path) -> Tree:
        tree = folder_tree(place, self.needed)
        return Tree(place, tuple(name for name in tree.names if _is_image(name)), tree.read)

    def _list(self, root: Path, place: Path, split: str) -> Path:
        name, _ = LISTS[split]
        for folder in (root, place, root / "sun397"):
            if (folder / name).is_file():
                return folder / name
        raise DataAbsentError(
            f"{self.name} is not all on this machine: its images are in {place}, but the list {name} is not "
            f"in {root}; docs/datasets.md says how to take it out of the Python package tensorflow-datasets, "
            "and sun397_seeded does without"
        )


def _ordered(names: set[str] | tuple[str, ...], where: str) -> tuple[tuple[str, ...], Array]:
    """Return the images by class, then file name, and their labels: int64 [n]."""
    number = {name: label for label, name in enumerate(SUN397)}
    strange = [name for name in names if _class(name) not in number]
    if strange:
        raise PrunebenchError(f"{where} has {min(strange)!r}, of no class of SUN397. Get it again.")
    files = sorted(names, key=lambda name: (number[_class(name)], name))
    return tuple(files), np.array([number[_class(name)] for name in files], dtype=np.int64)


def _class(name: str) -> str:
    """Return the class of a file such as a/apse/indoor/sun_x.jpg: apse/indoor."""
    return "/".join(name.split("/")[1:-1])


def _chosen(tree: Tree, files: tuple[str, ...], labels: Array, index: Array) -> Split:
    chosen = tuple(files[place] for place in index)
    return Split(tree, chosen, chosen, labels[index])


def _is_image(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file.startswith("sun_") and file.lower().endswith(".jpg")
