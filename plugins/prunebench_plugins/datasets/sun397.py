"""SUN397: photos of places in 397 classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError, choice
from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.class_names import class_names
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

# Name and SHA256 of each list, as in tensorflow-datasets 1.3 to 4.9.
LISTS = {
    "train": ("sun397_tfds_tr.txt", "764d9aa5c7b67a12b1a5ef784656a84f6a3a3cc0383ce9dc7acc59e3efd45791"),
    "test": ("sun397_tfds_te.txt", "e172ef48fe5e94e26b698b0cdc56d9e100ae072eeb44d2e9e9e5bc289337fccc"),
}


@dataclass(frozen=True, kw_only=True)
class Sun397(PhotoDataset):
    """76,128 training and 21,750 test images, color, of any size, 397 classes of unequal size.

    About 10,875 images are in neither split. Images are ordered by class, then file name.

    partition: "tfds" reads the split from the two lists of TensorFlow Datasets. "seeded" needs no lists. It
        draws as many images with seed 0, each class in proportion.
    images: number of all images.
    train_images: number of training images.
    test_images: number of test images.
    class_sizes: smallest and largest number of images in a class.

    Source: J. Xiao et al., SUN Database: Large-scale Scene Recognition from Abbey to Zoo, CVPR 2010.
    """

    folders: ClassVar[tuple[str, ...]] = ("SUN397", "sun397", "sun397/SUN397", "SUN397/SUN397")
    needed: ClassVar[tuple[str, ...]] = tuple("abcdefghijklmnoprstuvwy")  # first letters of the classes
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
        choice(f"{self.name}.partition", self.partition, ("tfds", "seeded"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders below their first letter, such as apse/indoor."""
        return class_names("sun397")

    def files(self, root: Path) -> list[Path]:
        """Return the images, after the lists if the partition needs them.

        Raise DataAbsentError if the images or a list are missing.
        """
        folder = self.folder(root)
        paths = []
        if self.partition == "tfds":
            paths += [self._list_path(root, folder, split) for split in LISTS]
        return paths + [folder / name for name in sorted(self._tree(folder).names)]

    def split(self, root: Path, split: str) -> Split:
        """Return the images of a split, from its list or by a draw.

        Raise PrunebenchError if images are missing, or a list or a class is not the published one.
        """
        folder = self.folder(root)
        tree = self._tree(folder)
        if self.partition == "tfds":
            return self._listed(tree, self._list_path(root, folder, split), split)
        files, labels = _by_class(tree.names, f"{folder}")
        check_spread(labels, self.classes, self.images, *self.class_sizes, f"{folder}")
        index = self._draw(labels)[split]
        files = tuple(files[i] for i in index)
        return Split(tree, files, files, labels[index])

    def _listed(self, tree: Tree, list_path: Path, split: str) -> Split:
        name, digest = LISTS[split]
        content = list_path.read_bytes()
        if self.verify:
            check_digest(content, digest, f"{list_path}")
        lines = {line.strip().lstrip("/") for line in text_lines(content)} - {""}
        files, labels = _by_class(lines, f"{list_path}")
        total = self.train_images if split == "train" else self.test_images
        check_spread(labels, self.classes, total, 1, total, f"{list_path}")
        check_there(tree, files, name)
        return Split(tree, files, files, labels)

    def _draw(self, labels: Array) -> dict[str, Array]:
        """Return the indices of the images of each split, ascending."""
        train = draw_stratified(labels, self.train_images)
        rest = np.setdiff1d(np.arange(len(labels)), train)
        return {"train": train, "test": rest[draw_stratified(labels[rest], self.test_images)]}

    def _tree(self, folder: Path) -> Tree:
        tree = folder_tree(folder, self.needed)
        return Tree(folder, tuple(name for name in tree.names if _is_image(name)), tree.read)

    def _list_path(self, root: Path, images: Path, split: str) -> Path:
        name, _ = LISTS[split]
        for folder in (root, images, root / "sun397"):
            if (folder / name).is_file():
                return folder / name
        raise DataAbsentError(
            f"{self.name} is incomplete: its images are in {images}, but the list {name} is not in {root}; "
            "docs/datasets.md says how to get it from the Python package tensorflow-datasets, "
            "and sun397_seeded needs no list"
        )


def _by_class(names: set[str] | tuple[str, ...], source: str) -> tuple[tuple[str, ...], Array]:
    """Return the files ordered by class, then name, and their labels: int64 [n]."""
    label_of = {name: label for label, name in enumerate(class_names("sun397"))}
    unknown = [name for name in names if _class(name) not in label_of]
    if unknown:
        raise PrunebenchError(f"{source} has {min(unknown)!r}, of no class of SUN397. Get it again.")
    files = sorted(names, key=lambda name: (label_of[_class(name)], name))
    return tuple(files), np.array([label_of[_class(name)] for name in files], dtype=np.int64)


def _class(name: str) -> str:
    """Return the class of a file: apse/indoor for a/apse/indoor/sun_x.jpg."""
    return "/".join(name.split("/")[1:-1])


def _is_image(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file.startswith("sun_") and file.lower().endswith(".jpg")
