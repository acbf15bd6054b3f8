"""A user's own photos, of which a few have a label: what `prunebench prune` and `evaluate` read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.parts.images import Images
from prunebench.parts.sampling import share
from prunebench.photos.folder import class_names, labels_of, read_labels, scan
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import Decoded, decoded
from prunebench_plugins.datasets.io.square_photos import SquarePhotos

# What a proxy sees are embeddings, so that an epoch takes seconds; a CNN of 24,000 parameters is tested.
# EfficientNet-Lite0 comes inside a Python package; it sees more at 128 pixels than at the 64 that are stored.
QUICK: Mapping[str, Any] = {
    "network": "cnn",
    "epochs": 40,
    "warmup": 0.2,
    "crop": 4,
    "flip": True,
    "evaluate_every": 40,
    "proxy_backbone": "efficientnet_lite0",
    "efficientnet_lite0": {"side": 128},
    "probe": {"backbone": "efficientnet_lite0"},
    "propagate": {"backbone": "efficientnet_lite0"},
    "fixmatch": {
        "network": "cnn",
        "iterations": 3000,
        "batch": 32,
        "threshold": 0.8,
        "lr": 0.1,
        "ema_warmup": True,
        "bn_momentum": 0.1,
    },
}


@dataclass(frozen=True, kw_only=True)
class Photos(SquarePhotos):
    """A folder of images of which a few have a label, in a .csv; for `prunebench prune` and `evaluate`.

    Images lie at whatever depth. known: the .csv, with the columns file and label. The training split are
    all images, in the order of their names, and their label is -1 where none is known; there is no test
    split. count: how many classes there are, where the labels do not show all. With a `holdout` above 0
    there are images with a label alone, and such a share of them, drawn by `seed`, is the test split.
    """

    name: str = "photos"
    path: str
    known: str = ""
    count: int | None = None
    holdout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.known != "", f"{self.name}.known", self.known, "a .csv of labels; see prunebench prune")
        require(0 <= self.holdout < 1, f"{self.name}.holdout", self.holdout, "in 0..1, below 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the labels, sorted, then stand-ins up to `count`."""
        return class_names(self._table, read_labels(self._table), self.count)

    @property
    def lineage(self) -> tuple[str, ...]:
        """Recipes list photos as `photos`, or else as they do a folder with classes."""
        return self.name, "photos", "folder"

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipe `quick`."""
        return {"quick": QUICK}

    def files(self, root: Path) -> list[Path]:
        """Return the images and the .csv of labels. Raise as `prunebench.photos.folder` does."""
        top = self._top
        return [self._table, *(top / name for name in scan(top, self.on_bad))]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory. Raise PrunebenchError for labels of files that are not there,
        and for images that cannot be read unless these are skipped.
        """
        if split == "test" and not self.holdout:
            return np.empty((0, 3, self.side, self.side), np.uint8), np.empty(0, np.int64)
        names = scan(self._top, self.on_bad)
        found = self._decoded(names, root)
        labels = self._labels([names[place] for place in found.kept])
        if not self.holdout:
            return found.images, labels
        index = self._split(labels)[split]
        # Of a memory map nearly all would be copied, and once more for each seed.
        images = Images(found.images, mean=self.mean, std=self.std).take(index)
        return images.array, labels[index]

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the paths of the training images below the folder."""
        names = scan(self._top, self.on_bad)
        if self.on_bad == "skip":  # else an image that cannot be read is an error, and all are there
            names = [names[place] for place in self._decoded(names, root).kept]
        if not self.holdout:
            return tuple(names)
        return tuple(names[place] for place in self._split(self._labels(names))["train"])

    @staticmethod
    def readable(folder: Path, names: Sequence[str], root: Path, side: int, on_bad: str) -> list[str]:
        """Return those of the images that can be read, be it none, reading no other; raise as `decoded`."""
        found = _decode(folder, names, root, side, on_bad, empty=True)
        return [names[place] for place in found.kept]

    @property
    def _top(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def _table(self) -> Path:
        return Path(self.known).expanduser()

    def _decoded(self, names: Sequence[str], root: Path) -> Decoded:
        return _decode(self._top, names, root, self.side, self.on_bad, cache=self.cache)

    def _labels(self, names: Sequence[str]) -> Array:
        """Return the label of each image, int64 [n], -1 where none is known."""
        known = labels_of(self._table, scan(self._top, self.on_bad), self._top)
        # Of the same look at the file, which somebody may be editing.
        classes = class_names(self._table, known, self.count)
        number = {name: place for place, name in enumerate(classes)}
        return np.array([number[known[name]] if name in known else -1 for name in names], np.int64)

    def _split(self, labels: Array) -> dict[str, Array]:
        """Return which of the images are trained and which are tested on, of those with a label."""
        labelled = np.flatnonzero(labels >= 0)
        order = seeds.stream("holdout", self.seed).permutation(labelled)
        tested = share(len(labelled), self.holdout)
        if not 0 < tested < len(labelled) - 1:
            raise PrunebenchError(
                f"a holdout of {self.holdout:g} of {len(labelled)} labelled images leaves too few to test "
                "on, or to train on"
            )
        return {"train": np.sort(order[tested:]), "test": np.sort(order[:tested])}


def _decode(top: Path, names: Sequence[str], root: Path, side: int, on_bad: str, **more: bool) -> Decoded:
    tree = Tree(top, tuple(names), lambda name: (top / name).read_bytes())
    return decoded(tree, tuple(names), root=root, side=side, on_bad=on_bad, **more)
