"""A user's own photos, a few of them labeled, for `prunebench prune` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Pool
from prunebench.parts.images import Images
from prunebench.parts.sampling import share
from prunebench.photos.advice import default_backbone
from prunebench.photos.folder import class_names, labels_of, read_labels, scan
from prunebench.photos.groups import counting, groups_of, stand_ins
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import Decoded, decoded
from prunebench_plugins.datasets.io.square_photos import SquarePhotos

# Made for a CPU. The final network is a CNN of 24,000 parameters. The proxy trains on embeddings, so an epoch
# takes seconds. The weights of EfficientNet-Lite0 come inside a Python package.
SCRATCH: Mapping[str, Any] = {
    "network": "cnn",
    "epochs": 40,
    "warmup": 0.2,
    "crop": 4,
    "flip": True,
    "evaluate_every": 40,
    "efficientnet_lite0": {"side": 224},
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
# For a GPU: the backbone itself is trained. The proxy is that of `quick`, but for these values.
FINETUNE: Mapping[str, Any] = {
    "finetune": True,
    "epochs": 30,
    "batch": 32,
    "shrink_batch": False,
    "lr": 0.01,
    "weight_decay": 1e-4,
    "warmup": 0.0,
    "crop": 0,
    "resized_crop": (0.35, 1.0),
    "evaluate_every": 30,
}


@dataclass(frozen=True, kw_only=True)
class PhotoPool(SquarePhotos):
    """A folder of images without labels: what `Photos` takes its splits from.

    The training split is all images, in the order of their names. All have the label -1. The test split is
    empty.

    path: folder of the images, at any depth. `~` is the home folder.
    """

    name: str = "photo_pool"
    path: str

    @property
    def classes(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    @property
    def lineage(self) -> tuple[str, ...]:
        """Its own name, then `photos`, then `folder`: recipes of either hold for it too."""
        return self.name, "photos", "folder"

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipes `quick`, `scratch` and `finetune`, on the default backbone of this machine."""
        backbone = default_backbone()
        part = {"backbone": backbone}
        scratch = {**SCRATCH, "proxy_backbone": backbone, "probe": part, "propagate": part}
        # As most people train: the final network is a head on the embeddings of a pretrained backbone.
        quick = {**scratch, "final_backbone": backbone}
        return {"quick": quick, "scratch": scratch, "finetune": {**quick, **FINETUNE}}

    def files(self, root: Path) -> list[Path]:
        """Return the images. Raise as `prunebench.photos.folder.scan`."""
        top = self._top
        return [top / name for name in scan(top, self.on_bad)]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory.
        Raise PrunebenchError if images cannot be read and `on_bad` is "fail".
        """
        if split == "test":
            return np.empty((0, 3, self.side, self.side), np.uint8), np.empty(0, np.int64)
        photos = self._decode(scan(self._top, self.on_bad), root)
        return photos.images, np.full(len(photos.images), -1)

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the path of each training image below the folder. Raise as `load`."""
        names = scan(self._top, self.on_bad)
        if self.on_bad == "skip":  # with "fail", `load` has all images or fails
            names = [names[i] for i in self._decode(names, root).kept]
        return tuple(names)

    @property
    def _top(self) -> Path:
        return Path(self.path).expanduser()

    def _decode(self, names: Sequence[str], root: Path) -> Decoded:
        return _decode(self._top, names, root, self.side, self.on_bad, cache=self.cache)


@dataclass(frozen=True, kw_only=True)
class Photos(PhotoPool):
    """A folder of images, a few of them labeled in a .csv, for `prunebench prune` and `evaluate`.

    Without a holdout the training split is all images, in the order of their names. Unlabeled images have
    the label -1. The test split is empty.
    With a holdout the splits are the labeled images only.

    With groups and no holdout the training split is all labeled images, and one image of each group without
    a label. With groups and a holdout, the test split has whole groups.

    known: path of the .csv, with the columns file and label.
    count: number of classes, if some have no labeled image yet.
    holdout: share of the labeled images in the test split, in 0..1, below 1. The last group that is drawn
        may exceed it.
    seed: seed of the draw of the test split.
    groups: path of a .csv with the columns file and group: the images that count as one. None: there are no
        groups.
    """

    version: ClassVar[int] = 2  # a split no longer depends on the order of hashes
    name: str = "photos"
    known: str = ""
    count: int | None = None
    holdout: float = 0.0
    seed: int = 0
    groups: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.known != "", f"{self.name}.known", self.known, "a .csv of labels; see prunebench prune")
        require(0 <= self.holdout < 1, f"{self.name}.holdout", self.holdout, "in 0..1, below 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the .csv, sorted, then placeholders up to `count`."""
        return class_names(self._table, read_labels(self._table), self.count)

    @property
    def pool(self) -> Pool:
        """The folder without its labels."""
        images = PhotoPool(path=self.path, side=self.side, on_bad=self.on_bad, cache=self.cache)
        return Pool(dataset=images, all=self._has_all)

    def places(self, root: Path, split: str) -> Array:
        """Return where the images of a split are among all. Raise as `load`."""
        names = scan(self._top, self.on_bad)
        kept = [names[i] for i in self._decode(names, root).kept]
        return self._split(kept, self._labels(kept))[split]

    def files(self, root: Path) -> list[Path]:
        """Return the .csv files, then the images. Raise as `prunebench.photos.folder.scan`."""
        tables = [self._table, *([Path(self.groups).expanduser()] if self.groups else [])]
        return [*tables, *super().files(root)]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory.
        Raise PrunebenchError if a .csv names a file that is missing.
        Raise PrunebenchError if images cannot be read and `on_bad` is "fail".
        Raise PrunebenchError if the holdout leaves too few images in a split.
        """
        if split == "test" and not self.holdout:
            return super().load(root, split)
        names = scan(self._top, self.on_bad)
        photos = self._decode(names, root)
        kept = [names[i] for i in photos.kept]
        labels = self._labels(kept)
        if self._has_all:
            return photos.images, labels
        index = self._split(kept, labels)[split]
        # Indexing the memory map would copy nearly all of it, once for each seed. `take` is lazy.
        images = Images(photos.images, mean=self.mean, std=self.std).take(index)
        return images.array, labels[index]

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the path of each training image below the folder. Raise as `load`."""
        names = super().names(root)
        if self._has_all:
            return names
        return tuple(names[i] for i in self._split(names, self._labels(names))["train"])

    @staticmethod
    def readable(folder: Path, names: Sequence[str], root: Path, side: int, on_bad: str) -> list[str]:
        """Return the names of the readable images, perhaps none. Reads only the named files.

        Raise as `decoding.decoded`.
        """
        photos = _decode(folder, names, root, side, on_bad, empty=True)
        return [names[i] for i in photos.kept]

    @staticmethod
    def squares(folder: Path, names: Sequence[str], root: Path, side: int) -> tuple[list[str], Array]:
        """Return the names of the readable images, and these images: uint8 [m, 3, side, side].

        Reads only the named files, and keeps no pixels. Raise as `decoding.decoded`.
        """
        photos = _decode(folder, names, root, side, "skip", cache=False, empty=True)
        return [names[i] for i in photos.kept], np.asarray(photos.images)

    @property
    def _table(self) -> Path:
        return Path(self.known).expanduser()

    def _labels(self, names: Sequence[str]) -> Array:
        """Return the label of each image: int64 [n], -1 = unlabeled."""
        class_of = labels_of(self._table, scan(self._top, self.on_bad), self._top)
        # Not `self.classes`, which would read the .csv again: somebody may be editing it.
        classes = class_names(self._table, class_of, self.count)
        label_of = {name: label for label, name in enumerate(classes)}
        labels = [label_of[class_of[name]] if name in class_of else -1 for name in names]
        return np.array(labels, np.int64)

    @property
    def _has_all(self) -> bool:
        """Whether the training split is all images."""
        return not self.holdout and self.groups is None

    def _grouped(self, names: Sequence[str]) -> Array:
        """Return the group of each image: int64 [n]."""
        if self.groups is None:  # the folder need not be listed
            return np.arange(len(names))
        return groups_of(Path(self.groups).expanduser(), names, scan(self._top, self.on_bad), self._top)

    def _split(self, names: Sequence[str], labels: Array) -> dict[str, Array]:
        """Return the indices of the images in "train" and in "test", ascending.

        names: all images that can be read.
        labels: theirs, int64 [n].
        """
        groups = self._grouped(names)
        if not self.holdout:
            return {"train": counting(stand_ins(groups, labels >= 0)), "test": np.arange(0)}
        labeled = np.flatnonzero(labels >= 0)
        _, group = np.unique(groups[labeled], return_inverse=True)
        order = seeds.stream("holdout", self.seed).permutation(group.max(initial=-1) + 1)
        least = share(len(labeled), self.holdout)
        # Whole groups are drawn, until the share is reached.
        drawn = int(np.searchsorted(np.bincount(group)[order].cumsum(), least)) + 1
        is_tested = np.isin(group, order[:drawn])
        if not 0 < least < len(labeled) - 1 or (~is_tested).sum() < 2:
            raise PrunebenchError(
                f"a holdout of {self.holdout:g} of {len(labeled)} labeled images leaves too few to test "
                "on, or to train on"
            )
        return {"train": labeled[~is_tested], "test": labeled[is_tested]}


def _decode(top: Path, names: Sequence[str], root: Path, side: int, on_bad: str, **options: bool) -> Decoded:
    tree = Tree(top, tuple(names), lambda name: (top / name).read_bytes())
    return decoded(tree, tuple(names), root=root, side=side, on_bad=on_bad, **options)
