"""Caltech-101: photos and drawings in 101 classes of unequal size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import is_clutter
from prunebench_plugins.datasets.class_names import class_table
from prunebench_plugins.datasets.io.archives import Archive
from prunebench_plugins.datasets.io.copies import Tree, check_spread, folder_tree
from prunebench_plugins.datasets.io.photo_dataset import PhotoDataset, Split

HOME = "https://data.caltech.edu/records/mzrjq-6wc02"
FOLDER = "101_ObjectCategories"
CLUTTER = "BACKGROUND_Google"  # random pictures, not a class
TAR = Archive(name=f"{FOLDER}.tar.gz", folder=FOLDER, members=10_000, size=2**28)


def published_sizes() -> tuple[int, ...]:
    """Return the published number of images of each class."""
    return tuple(map(int, class_table("caltech101").values()))


@dataclass(frozen=True, kw_only=True)
class Caltech101(PhotoDataset):
    """8677 images, mostly color, about 300 x 200 pixels, 101 classes of 31 to 800 images.

    There is no published split. This one is scikit-learn's StratifiedShuffleSplit with a test share of 0.2
    and seed 0. Images are ordered by class, then file name, before the draw and in each split.

    sizes: number of images of each class, in the order of the classes.

    Source: L. Fei-Fei, R. Fergus and P. Perona, Learning Generative Visual Models from Few Training Examples,
    CVPR Workshop 2004.
    """

    folders: ClassVar[tuple[str, ...]] = (
        FOLDER,
        "caltech101",
        *(f"{parent}/{FOLDER}" for parent in ("caltech101", "caltech-101", "caltech101/caltech-101")),
    )
    needed: ClassVar[tuple[str, ...]] = ("Faces_easy",)
    archives: ClassVar[tuple[Archive, ...]] = (
        replace(
            TAR,
            name="caltech-101.zip",
            digest="3138e1922a9193bfa496528edbbc45d0",
            inner=TAR.name,
            url=f"{HOME}/files/caltech-101.zip",
        ),
        TAR,
    )
    packed: ClassVar[tuple[str, ...]] = (".", "caltech101", "caltech-101", "caltech101/caltech-101")
    remedy: ClassVar[str] = (
        f"put caltech-101.zip or {TAR.name}, packed or unpacked, into {{root}}; it is at {HOME}"
    )

    name: str = "caltech101"
    sizes: tuple[int, ...] = field(default_factory=published_sizes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders, sorted, capitals first."""
        return tuple(class_table("caltech101"))

    def files(self, root: Path) -> list[Path]:
        """Return all images. Raise DataAbsentError if they are missing."""
        tree = self._tree(root)
        return [tree.path / name for name in sorted(tree.names)]

    def split(self, root: Path, split: str) -> Split:
        """Return the images of a split.

        Raise PrunebenchError if a class is unknown or has a wrong number of images.
        """
        tree = self._tree(root)
        unknown = {name.partition("/")[0] for name in tree.names} - {*self.classes}
        if unknown:
            raise PrunebenchError(
                f"{tree.path} has a class {min(unknown)!r}, which Caltech-101 does not have. Get it again."
            )
        label_of = {name: label for label, name in enumerate(self.classes)}
        names = sorted(tree.names, key=lambda name: (label_of[name.partition("/")[0]], name))
        labels = np.array([label_of[name.partition("/")[0]] for name in names], dtype=np.int64)
        # Checked before the draw: one missing image would change the whole split.
        sizes = np.array(self.sizes)
        check_spread(labels, self.classes, int(sizes.sum()), sizes, sizes, f"{tree.path}")
        index = one_in_five(labels)[split]
        files = tuple(names[i] for i in index)
        return Split(tree, files, files, labels[index])

    def _tree(self, root: Path) -> Tree:
        folder = self.folder(root)
        names = [path.name for path in folder.iterdir() if path.is_dir()]
        classes = {name for name in names if not is_clutter(name)} - {CLUTTER}
        tree = folder_tree(folder, classes)
        return Tree(folder, tuple(name for name in tree.names if _is_image(name)), tree.read)


def one_in_five(labels: Array) -> Mapping[str, Array]:
    """Return the indices of "train" and of "test", ascending, by a stratified split. labels: int [n]."""
    from sklearn.model_selection import StratifiedShuffleSplit

    draw = StratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
    train, test = next(draw.split(np.zeros(len(labels)), labels))
    return {"train": np.sort(train), "test": np.sort(test)}


def _is_image(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file.startswith("image_") and file.lower().endswith(".jpg")
