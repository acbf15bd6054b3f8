"""A dataset without its truth, to show that nothing reads it: other labels, other names, no test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.images import Elsewhere
from prunebench.system.closed import lent


@dataclass(frozen=True, kw_only=True)
class Blinded(View):
    """The training images of the base, in their order, without the truth about them.

    Labels are drawn at random, with other class sizes. Images without a label stay without one.
    Names of images and classes are numbers. The test split cannot be loaded.
    """

    @property
    def title(self) -> str:
        """The heading of the base."""
        return self.base.title

    @property
    def classes(self) -> tuple[str, ...]:
        """As many names as the base has classes, which say nothing."""
        return tuple(f"class_{number}" for number in range(len(self.base.classes)))

    @property
    def lineage(self) -> tuple[str, ...]:
        """The names of the base."""
        return self.base.lineage

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return the training images of the base, and other labels.

        Raise PrunebenchError for the test split.
        """
        if split != "train":
            raise PrunebenchError(f"the {split} split of {self.name} is closed before the final training")
        images, labels = self.base.load(root, split)
        shown = images if isinstance(images, np.ndarray) else Lent(images)
        return shown, other_labels(np.asarray(labels), len(self.base.classes))

    def names(self, root: Path) -> tuple[str, ...]:
        """Return numbers in a random order in the place of names, or () if the images have none."""
        images = len(self.base.names(root))
        return tuple(map("{:08}".format, seeds.stream("blinded names", 0).permutation(images)))


def other_labels(labels: Array, classes: int) -> Array:
    """Return labels drawn at random, with other class sizes, int [n]. Where there is none, there is none."""
    rng = seeds.stream("blinded", 0)
    drawn = rng.choice(classes, size=len(labels), p=rng.dirichlet(np.ones(classes)))
    return np.where(labels >= 0, drawn, -1)


def blinded(dataset: Dataset) -> Blinded:
    """Return a dataset without its truth. It keeps its name."""
    return Blinded(name=dataset.name, base=dataset)


class Lent:
    """A lazy array of images that hands out images and nothing else, such as the paths of their files."""

    def __init__(self, array: Elsewhere) -> None:
        self.shape = array.shape
        self.dtype = array.dtype
        self.ndim = array.ndim
        self._fetch = array.__getitem__

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | Array, /) -> Array:
        with lent():
            return self._fetch(index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)
