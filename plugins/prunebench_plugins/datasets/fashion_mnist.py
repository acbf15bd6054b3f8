"""Fashion-MNIST: gray images of clothes, by Zalando."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench_plugins.datasets.io.idx import read_idx

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, kw_only=True)
class FashionMnist(Dataset):
    """60,000 training and 10,000 test images, gray, 28 x 28 pixels, ten classes of equal size.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv 1708.07747.
    """

    # As in table 2 of the paper.
    classes: ClassVar[tuple[str, ...]] = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    # Measured on the training split.
    info: ClassVar[DatasetInfo] = DatasetInfo(resolution=28, mean=(0.2860,), std=(0.3530,))

    name: str = "fashion_mnist"

    def files(self, root: Path) -> list[Path]:
        """Return the four files, plain or gzipped, of the first complete folder.

        The folders are root/fashion_mnist, root/FashionMNIST/raw (as torchvision has it) and the folder
        of the Debian package.
        Raise DataAbsentError if no folder has all files.
        """
        for folder in _folders(root):
            candidates = [_plain_or_gzipped(folder / name) for name in FILES]
            paths = [path for path in candidates if path is not None]
            if len(paths) == len(FILES):
                return paths
        raise _absent(root)

    def fetch(self, root: Path) -> None:
        """Download the files to root/FashionMNIST/raw, unless they are on this machine already.

        Raise DataAbsentError if the download fails, whatever the reason.
        """
        try:
            self.files(root)
        except DataAbsentError:
            _download(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [60000 or 10000, 1, 28, 28], and labels, int64, of "train" or "test".

        Raise PrunebenchError if a file is damaged.
        """
        files = self.files(root)
        images_file, labels_file = files[:2] if split == "train" else files[2:]
        images = read_idx(images_file, dimensions=3)
        labels = read_idx(labels_file, dimensions=1)
        if len(images) != len(labels):
            sizes = f"{len(images)} images in {images_file} but {len(labels)} labels in {labels_file}"
            raise PrunebenchError(f"{sizes}: get both again")
        return images[:, None], labels.astype(np.int64)


def _folders(root: Path) -> tuple[Path, ...]:
    return root / "fashion_mnist", root / "FashionMNIST" / "raw", DEBIAN


def _plain_or_gzipped(path: Path) -> Path | None:
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _download(root: Path) -> None:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(root), download=True)
    except Exception as error:  # no network, a full disk, a mirror that is down: the remedy is the same
        raise _absent(root, f" (download failed: {' '.join(str(error).split())})") from None


def _absent(root: Path, reason: str = "") -> DataAbsentError:
    return DataAbsentError(
        f"fashion_mnist is not on this machine{reason}: put {', '.join(FILES)} (.gz or not) into "
        f"{root / 'fashion_mnist'}, or apt install dataset-fashion-mnist"
    )
