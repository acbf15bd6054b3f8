"""The contract of datasets, as checks: `prunebench check NAME`, or `conform(dataset, root)` in a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.conformance import Check, attempt, failed
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.images import Images

Splits = Mapping[str, tuple[Array, Array]]  # the images and labels of "train" and "test"
SPLITS = ("train", "test")
COMPARED = 256  # images of a split, at most, whose pixels are compared. Some datasets decode on access


def check(dataset: Dataset, root: Path) -> list[Check]:
    """Check a dataset against the contract, on its files in the data folder `root`."""
    try:
        splits = _loaded(dataset, root)
    except Exception as error:
        return [failed("loads", error)]
    attempts = {
        "fields are JSON": lambda: _check_fields(dataset),
        "files exist": lambda: _check_files(dataset, root),
        "classes are unique": lambda: _check_unique("class", dataset.classes),
        "images": lambda: _check_images(dataset, splits),
        "labels": lambda: _check_labels(dataset, splits),
        "one name per image": lambda: _check_names(dataset.names(root), splits),
        "one path per image": lambda: _check_paths(dataset.paths(root), splits),
        "same images on every load": lambda: _check_same(splits, _loaded(dataset, root)),
    }
    return [Check("loads", None), *(attempt(name, action) for name, action in attempts.items())]


def conform(dataset: Dataset, root: Path) -> None:
    """Raise AssertionError with every check that `dataset` fails. For the tests of a plugin."""
    problems = [f"{result.name}: {result.error}" for result in check(dataset, root) if result.error]
    if problems:
        raise AssertionError(f"dataset {dataset.name!r} breaks the contract\n  " + "\n  ".join(problems))


def _loaded(dataset: Dataset, root: Path) -> Splits:
    return {split: dataset.load(root, split) for split in SPLITS}


def _check_fields(dataset: Dataset) -> None:
    """Check that a key can be made of the fields. The base of a view has a key of its own."""
    names = {entry.name for entry in fields(dataset)}
    if isinstance(dataset, View):
        names.remove("base")
    json.dumps({name: getattr(dataset, name) for name in names}, allow_nan=False)


def _check_files(dataset: Dataset, root: Path) -> None:
    paths = dataset.files(root)
    require(len(paths) > 0, "the number of files", len(paths), "one or more")
    absent = [str(path) for path in paths if not path.exists()]
    require(not absent, "files", absent[:1], "paths that exist")


def _check_unique(what: str, names: tuple[str, ...]) -> None:
    unique = len(set(names))
    require(unique == len(names) > 0, f"the number of unique {what} names", unique, f"{len(names) or 'some'}")


def _check_images(dataset: Dataset, splits: Splits) -> None:
    """Check what `Images` requires of them, their size and their number."""
    info = dataset.info
    for split, (array, labels) in splits.items():
        images = Images(array, mean=info.mean, std=info.std)
        require(
            images.resolution == info.resolution, f"{split}: side", images.resolution, f"{info.resolution}"
        )
        require(len(images) == len(labels) > 0, f"{split}: images", len(images), f"{len(labels)}, as labels")
    for mean, std in zip(info.mean, info.std, strict=True):
        require(0 <= mean <= 1, "info.mean", mean, "in 0..1")
        require(0 < std <= 1, "info.std", std, "above 0 and at most 1")


def _check_labels(dataset: Dataset, splits: Splits) -> None:
    """Check types and range. A training label may be unknown, a test label may not."""
    last = len(dataset.classes) - 1
    for split, (_images, labels) in splits.items():
        require(labels.dtype.kind in "iu", f"{split}: dtype", str(labels.dtype), "an integer one")
        require(labels.ndim == 1, f"{split}: shape", labels.shape, "[n]")
        first = -1 if split == "train" else 0
        wrong = np.unique(labels[(labels < first) | (labels > last)])
        require(not len(wrong), f"{split}: label", wrong[:3].tolist(), f"{first}..{last}")


def _check_names(names: tuple[str, ...], splits: Splits) -> None:
    if names:
        images = len(splits["train"][1])
        require(len(names) == images, "the number of names", len(names), f"{images}, one per training image")
        _check_unique("image", names)


def _check_paths(paths: tuple[Path, ...], splits: Splits) -> None:
    if paths:
        images = len(splits["train"][1])
        require(len(paths) == images, "the number of paths", len(paths), f"{images}, one per training image")


def _check_same(splits: Splits, again: Splits) -> None:
    for split, (images, labels) in splits.items():
        images_again, labels_again = again[split]
        index = np.linspace(0, len(images) - 1, min(len(images), COMPARED)).astype(np.int64)
        same = np.array_equal(images[index], images_again[index]) and np.array_equal(labels, labels_again)
        if not same:
            raise PrunebenchError(f"{split}: two loads differ; draw from a generator with a fixed seed")
