"""CIFAR-10 as JPEG files in one folder per class, as public image collections offer it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from prunebench.errors import DataAbsentError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench_plugins.datasets.cifar import Cifar10
from prunebench_plugins.datasets.class_names import class_names
from prunebench_plugins.datasets.io.class_folders import ClassFolders, located

FOLDERS = ("cifar10_jpeg", "CIFAR-10-images", "CIFAR-10-images-master")


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
        The archive has the same name, and ends in .tar.xz, .tar.gz, .tgz, .tar or .zip.
        Raise DataAbsentError if there is neither.
        """
        return self._copy(root).files()

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, 32, 32], and labels, int64 [n], of "train" or "test".

        Raise PrunebenchError if images are missing, cannot be read or have another size.
        """
        per_class = self.train_per_class if split == "train" else self.test_per_class
        return self._copy(root).load(split, self.resolution, per_class)

    def names(self, root: Path) -> tuple[str, ...]:
        """Return CLASS/FILE of each training image. Raise as `load`."""
        return self._copy(root).names()

    def _copy(self, root: Path) -> ClassFolders:
        path = located(root, FOLDERS)
        if path is None:
            raise DataAbsentError(
                f"{self.name} is not on this machine: put a folder {self.name} with train/CLASS/*.jpg and "
                f"test/CLASS/*.jpg, or {self.name}.tar.xz with that, into {root}; for the original, see "
                "cifar10"
            )
        otherwise = "PNG images are the dataset cifar10, in a folder of that name"
        return ClassFolders(path=path, classes=self.classes, kind="JPEG", otherwise=otherwise)
