"""Datasets, and views of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

from prunebench.parts.artefacts import Array
from prunebench.system.isolation import check_not_at_work, isolated

Load = Callable[["Dataset", Path, str], "tuple[Array, Array]"]


def _isolated_load(load: Load) -> Load:
    """Wrap the `load` of a dataset class, so that no setting of its caller changes the images."""

    @wraps(load)
    def isolated_load(self: Dataset, root: Path, split: str) -> tuple[Array, Array]:
        check_not_at_work(self.name)
        with isolated(f"dataset {self.name!r} of {type(self).__module__}"):
            return load(self, root, split)

    return isolated_load


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known of the images of a dataset before a file is read.

    resolution: side of the square images, in pixels.
    mean: mean of each channel, in 0..1.
    std: standard deviation of each channel, in 0..1.
    """

    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images, their labels and their splits. A dataset is a value with a name.

    A subclass defines `classes`, `info`, `files` and `load`. The first two may be class variables.
    `load` always runs under the settings of a stage (`prunebench.system.isolation`), whoever calls it.
    A part may not call it: raise PrunebenchError if one does.

    remote: True if its field `path` names something elsewhere, and no path on this machine.
    """

    version: ClassVar[int] = 1
    remote: ClassVar[bool] = False
    name: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "load" in vars(cls):
            cls.load = _isolated_load(cls.load)  # type: ignore[method-assign, assignment]

    @property
    def title(self) -> str:
        """The heading of the dataset in tables and figures. By default its name."""
        return self.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes. Label c means classes[c]. They may depend on the files."""
        raise NotImplementedError

    @property
    def info(self) -> DatasetInfo:
        """Resolution, mean and standard deviation of the images. They never depend on the files."""
        raise NotImplementedError

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        return self.info.resolution

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, in 0..1."""
        return self.info.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, in 0..1."""
        return self.info.std

    @property
    def lineage(self) -> tuple[str, ...]:
        """The names under which a recipe may list this dataset: its own, then those it derives from."""
        default_name = next(entry.default for entry in fields(self) if entry.name == "name")
        if default_name in (MISSING, self.name):
            return (self.name,)
        return (self.name, str(default_name))

    @property
    def pool(self) -> Pool | None:
        """The images that both splits are taken from, or None if these are no part of another dataset.

        Frozen backbones embed them once, however often labels and splits change.
        """
        return None

    def places(self, root: Path, split: str) -> Array:
        """Return where the images of a split are in the pool: int64 [n]."""
        raise NotImplementedError

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """Recipe fields by recipe name, used if the recipes file does not list this dataset."""
        return {}

    def files(self, root: Path) -> list[Path]:
        """Return the files this dataset reads. Raise DataAbsentError if they are not in `root`."""
        raise NotImplementedError

    def fetch(self, root: Path) -> None:
        """Download the files to `root`. Raise DataAbsentError if they cannot be downloaded."""
        self.files(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return the images and labels of a split.

        root: the data folder.
        split: "train" or "test".
        Returns images, uint8 [n, channels, height, width], and labels, int [n].
        """
        raise NotImplementedError

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the unique names of the training images, in their order, or () if they have none."""
        return ()

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image, in their order, or () if there are no such files."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The images that the splits of a dataset are taken from.

    dataset: has them as its training split.
    all: whether the training split of the other dataset is all of them, in their order.
    """

    dataset: Dataset
    all: bool


@dataclass(frozen=True, kw_only=True)
class View(Dataset):
    """A dataset made from another one by changing its training split. The test split stays the same.

    base: the dataset that is changed.
    """

    base: Dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the base."""
        return self.base.classes

    @property
    def info(self) -> DatasetInfo:
        """The resolution, mean and standard deviation of the base."""
        return self.base.info

    @property
    def lineage(self) -> tuple[str, ...]:
        """The view's own name, then the names of the base."""
        return (self.name, *self.base.lineage)

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipes of the base."""
        return self.base.recipes

    def files(self, root: Path) -> list[Path]:
        """Return the files of the base."""
        return self.base.files(root)

    def fetch(self, root: Path) -> None:
        """Download the files of the base."""
        self.base.fetch(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return a split of the base, the training split changed by `alter`."""
        images, labels = self.base.load(root, split)
        if split == "train":
            return self.alter(images, labels)
        return images, labels

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the images and labels of this view, made from the training split of the base."""
        raise NotImplementedError
