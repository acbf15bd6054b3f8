"""The handwritten digits of scikit-learn: real images, installed with prunebench."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench_plugins.datasets.draws import draw_stratified

TRAIN = 1347  # three quarters of the 1797 images


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """1797 gray digits of 8 x 8 pixels in 10 classes, split 1347 / 450, stratified, with seed 0.

    Pixel values are scaled from 0..16 to 0..255.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998. Scikit-learn
    ships its test part.
    """

    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    # Measured on the training split.
    info: ClassVar[DatasetInfo] = DatasetInfo(resolution=8, mean=(0.3055,), std=(0.3758,))

    name: str = "digits"

    def files(self, root: Path) -> list[Path]:
        """Return the table inside scikit-learn. `root` is not used.

        Raise DataAbsentError if scikit-learn is not installed or lacks the table.
        """
        sklearn = find_spec("sklearn")  # finds the folder without importing the package
        folders = sklearn.submodule_search_locations if sklearn else None
        for folder in folders or ():
            table = Path(folder) / "datasets" / "data" / "digits.csv.gz"
            if table.is_file():
                return [table]
        raise DataAbsentError("digits needs a file that comes with scikit-learn: pip install scikit-learn")

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [1347 or 450, 1, 8, 8], and labels, int64, of "train" or "test"."""
        table = np.loadtxt(self.files(root)[0], delimiter=",", dtype=np.int64)
        labels = table[:, -1]
        in_train = np.zeros(len(labels), dtype=bool)
        in_train[draw_stratified(labels, TRAIN)] = True
        mask = in_train if split == "train" else ~in_train
        images = np.rint(table[mask, :-1] * (255 / 16)).astype(np.uint8)
        return images.reshape(-1, 1, 8, 8), labels[mask]
