"""Food-101: photos of 101 dishes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench_plugins.datasets.class_names import class_names
from prunebench_plugins.datasets.io.archives import Archive
from prunebench_plugins.datasets.io.copies import check_sizes, check_there, folder_tree, text_lines
from prunebench_plugins.datasets.io.photo_dataset import PhotoDataset, Split

HOME = "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
LISTS = {"train": "meta/train.txt", "test": "meta/test.txt"}


@dataclass(frozen=True, kw_only=True)
class Food101(PhotoDataset):
    """75,750 training and 25,250 test images, color, up to 512 x 512 pixels, 101 classes of equal size.

    Training labels are noisy on purpose. Test labels were checked.
    The published lists define the splits. Images are ordered by class, then name.

    train_per_class: training images of each class.
    test_per_class: test images of each class.

    Source: L. Bossard, M. Guillaumin and L. Van Gool, Food-101: Mining Discriminative Components with
    Random Forests, ECCV 2014.
    """

    folders: ClassVar[tuple[str, ...]] = ("food-101", "food101", "food101/food-101", "food-101/food-101")
    needed: ClassVar[tuple[str, ...]] = ("images", *LISTS.values())
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            name="food-101.tar.gz",
            folder="food-101",
            members=110_000,
            size=6 * 2**30,
            digest="85eeb15f3717b99a5da872d97d918f87",
            url=HOME,
        ),
    )
    packed: ClassVar[tuple[str, ...]] = (".", "food101")
    remedy: ClassVar[str] = f"put food-101.tar.gz, packed or unpacked, into {{root}}; it is at {HOME}"

    name: str = "food101"
    train_per_class: int = 750
    test_per_class: int = 250

    @property
    def classes(self) -> tuple[str, ...]:
        """The folders of the classes, sorted."""
        return class_names("food101")

    def files(self, root: Path) -> list[Path]:
        """Return both lists and all files below images/. Raise DataAbsentError if one is missing."""
        folder = self.folder(root)
        images = folder_tree(folder, ["images"]).names
        return [folder / name for name in (*LISTS.values(), *sorted(images))]

    def split(self, root: Path, split: str) -> Split:
        """Return the images in the published list of the split.

        Raise PrunebenchError if the list is wrong or one of its images is missing.
        """
        folder = self.folder(root)
        list_path = folder / LISTS[split]
        lines = {line.strip() for line in text_lines(list_path.read_bytes())} - {""}
        label_of = {name: label for label, name in enumerate(self.classes)}
        unknown = sorted(line for line in lines if line.partition("/")[0] not in label_of)
        if unknown:
            raise PrunebenchError(f"{list_path} names {unknown[0]!r}, of no class of Food-101. Get it again.")
        rows = sorted((label_of[line.partition("/")[0]], line) for line in lines)
        labels = np.array([label for label, _ in rows], dtype=np.int64)
        names = tuple(f"{line}.jpg" for _, line in rows)
        per_class = self.train_per_class if split == "train" else self.test_per_class
        check_sizes(labels, self.classes, per_class, f"{list_path}")
        tree = folder_tree(folder, ["images"])
        files = tuple(f"images/{name}" for name in names)
        check_there(tree, files, f"{list_path}")
        return Split(tree, files, names, labels)
