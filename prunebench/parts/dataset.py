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
    """Return the `load` of a dataset class so that no setting of its caller reaches the images."""

    @wraps(load)
    def isolated_load(self: Dataset, root: Path, split: str) -> tuple[Array, Array]:
        check_not_at_work(self.name)
        with isolated(f"dataset {self.name!r} of {type(self).__module__}"):
            return load(self, root, split)

    return isolated_load


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images and their splits. A dataset is a value with a name; a view holds the dataset it alters.

    resolution is the side of its square images in pixels; mean and std are per channel, in 0..1.
    Whoever calls `load`, it runs on the settings that stages rest on, and never on behalf of a part.
    """

    version: ClassVar[int] = 1
    name: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "load" in vars(cls):
            cls.load = _isolated_load(cls.load)  # type: ignore[method-assign, assignment]

    @property
    def title(self) -> str:
        """What it is, for headings, where the name does not say it or misleads; else the name."""
        return self.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; label c is classes[c]."""
        raise NotImplementedError

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        raise NotImplementedError

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, in 0..1."""
        raise NotImplementedError

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, in 0..1."""
        raise NotImplementedError

    @property
    def lineage(self) -> tuple[str, ...]:
        """The names under which a recipe may list this dataset: its own, then those it derives from."""
        usual = next(entry.default for entry in fields(self) if entry.name == "name")
        return (self.name,) if usual in (MISSING, self.name) else (self.name, str(usual))

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """Recipe fields by recipe name, used where the recipes file does not list this dataset."""
        return {}

    def files(self, root: Path) -> list[Path]:
        """Return the files this dataset reads. Raise DataAbsentError where they are not there."""
        raise NotImplementedError

    def fetch(self, root: Path) -> None:
        """Download the files to `root`, where that is possible; else raise DataAbsentError."""
        self.files(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, channels, height, width], and labels, int [n], of "train" or "test"."""
        raise NotImplementedError

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the names of the training images, unique and in their order; () where they have none."""
        return ()

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image, in their order; () where that is not told."""
        return ()


@dataclass(frozen=True, kw_only=True)
class View(Dataset):
    """A dataset made from another by changing its training split; the test split stays as it is."""

    base: Dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the base."""
        return self.base.classes

    @property
    def resolution(self) -> int:
        """The resolution of the base."""
        return self.base.resolution

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of the base."""
        return self.base.mean

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of the base."""
        return self.base.std

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
        """Return the split of the base, the training split altered by `alter`."""
        images, labels = self.base.load(root, split)
        return self.alter(images, labels) if split == "train" else (images, labels)

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the training images and labels as this view shows them."""
        raise NotImplementedError
