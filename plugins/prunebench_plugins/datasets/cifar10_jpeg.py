"""CIFAR-10 as JPEG files in one folder per class, as public image collections offer it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench_plugins.datasets.cifar import Cifar10
from prunebench_plugins.datasets.class_names import class_names
from prunebench_plugins.datasets.io.copies import Tree, check_sizes, folder_tree, tar_tree
from prunebench_plugins.datasets.io.jpegs import decoded_as_published

FOLDERS = ("cifar10_jpeg", "CIFAR-10-images", "CIFAR-10-images-master")
ARCHIVES = tuple(f"cifar10_jpeg.{kind}" for kind in ("tar.xz", "tar.gz", "tar"))


@dataclass(frozen=True, kw_only=True)
class Cifar10Jpeg(Dataset):
    """CIFAR-10 re-encoded as JPEG: the same images, labels and splits, but not quite the same pixels.

    50,000 training and 10,000 test images, color, 32 x 32 pixels, ten classes of equal size.
    Images are ordered by class, then file name.
    The paper does not use this dataset. Its rows are never compared with rows of cifar10.

    train_per_class: training images of each class.
    test_per_class: test images of each class.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    info: ClassVar[DatasetInfo] = Cifar10.info

    name: str = "cifar10_jpeg"
    train_per_class: int = 5000
    test_per_class: int = 1000

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten classes of CIFAR-10. Their published order is sorted."""
        return class_names("cifar10")

    @property
    def lineage(self) -> tuple[str, ...]:
        """Its own name, then cifar10: recipes of cifar10 hold for it too."""
        return self.name, "cifar10"

    def files(self, root: Path) -> list[Path]:
        """Return all images of the first folder that has train/ and test/, or else the archive.

        The folder is called cifar10_jpeg or CIFAR-10-images. It lies in root, or in a folder of that name.
        The archive is cifar10_jpeg.tar, .tar.xz or .tar.gz.
        Raise DataAbsentError if there is neither.
        """
        path = self._locate(root)
        if path.is_file():
            return [path]
        return [path / name for name in sorted(folder_tree(path, ("train", "test")).names)]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, 32, 32], and labels, int64 [n], of "train" or "test".

        Raise PrunebenchError if images are missing, cannot be read or have another size.
        """
        tree = self._tree(root, split)
        names = _images(tree, split)
        classes = [name.split("/")[1] for name in names]
        source = f"{tree.path / split}"
        unknown = {*classes} - {*self.classes}
        if unknown:
            raise PrunebenchError(
                f"{source} has a class {min(unknown)!r}, which CIFAR-10 does not have. Get it again."
            )
        labels = np.array([self.classes.index(name) for name in classes], dtype=np.int64)
        per_class = self.train_per_class if split == "train" else self.test_per_class
        check_sizes(labels, self.classes, per_class, source)
        return decoded_as_published(tree.read, names, self.resolution, source), labels

    def names(self, root: Path) -> tuple[str, ...]:
        """Return CLASS/FILE of each training image. Raise as `load`."""
        return tuple(name.partition("/")[2] for name in _images(self._tree(root, "train"), "train"))

    def _tree(self, root: Path, split: str) -> Tree:
        path = self._locate(root)
        return tar_tree(path, split) if path.is_file() else folder_tree(path, [split])

    def _locate(self, root: Path) -> Path:
        """Return the folder with train/ and test/, or the archive."""
        for folder in self._folders(root):
            if (folder / "train").is_dir() and (folder / "test").is_dir():
                return folder
        for folder in (root, root / self.name):
            for name in ARCHIVES:
                if (folder / name).is_file():
                    return folder / name
        raise DataAbsentError(
            f"{self.name} is not on this machine: put a folder {self.name} with train/CLASS/*.jpg and "
            f"test/CLASS/*.jpg, or {ARCHIVES[0]} with that, into {root}; for the original, see cifar10"
        )

    def _folders(self, root: Path) -> Iterator[Path]:
        for name in FOLDERS:
            yield root / name
            yield from (root / name / inner for inner in FOLDERS)


def _images(tree: Tree, split: str) -> list[str]:
    """Return SPLIT/CLASS/FILE of each image, sorted. The classes of CIFAR-10 are in sorted order too."""
    names = [name for name in tree.names if name.startswith(f"{split}/") and name.count("/") == 2]
    return sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg")))
