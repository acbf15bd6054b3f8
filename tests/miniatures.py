"""The paper's datasets as miniatures: all classes, in the real layouts, for trainings of a second.

Their files are those of the tests of their loaders.
Pretrained backbones are too large for tests. Stand-ins under the same names embed shrunken pixels. The real
backbones have their own tests, and so have the networks of the paper's recipes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from prunebench.parts.base import Backbone
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.registry import load
from prunebench.suites import recipes as real
from tests.plugins import (
    test_caltech101,
    test_cifar,
    test_food101,
    test_imagenet1k,
    test_sun397,
    test_tiny_imagenet,
)

MORE = 5  # times the CIFAR images of the loader's tests, so that a long tail keeps some of each class
STORED = 16  # pixels of stored photos; the networks see 14 of them, like 224 of 256
CIFAR = {
    "cifar-10-batches-py": replace(test_cifar.TEN, train_per_class=2 * MORE),
    "cifar-100-python": replace(test_cifar.HUNDRED, train_per_class=2 * MORE),
}
DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        *CIFAR.values(),
        test_tiny_imagenet.TINY,
        replace(test_food101.FOOD, side=STORED),
        replace(test_sun397.LISTED, side=STORED),
        replace(test_caltech101.SMALL, side=STORED),
        replace(test_imagenet1k.SMALL, side=STORED),
    )
}

# These override the paper's recipes, which keep their augmentation, optimizer and c_d.
TRAINING = {"network": "cnn", "epochs": 4, "batch": 64, "evaluate_steps": 4}
SIDES = {"cifar10": 16, "cifar100": 16, "tiny_imagenet": 16}  # pixels that networks see
PHOTO_SIDE = 14  # pixels that networks see of photos
PARTS: dict[str, dict[str, Any]] = {
    "temi": {
        "heads": 2,
        "neighbors": 5,
        "hidden": 16,
        "bottleneck": 8,
        "lr": 0.01,
        "epochs": 4,
        "warmup_epochs": 1,
        "batch": 32,
    },
    "zcore": {"rounds": 2000, "neighbors": 20},
    "fixmatch": {"network": "cnn", "epochs": 1, "batch": 8, "mu": 2, "precision": "fp32"},
    "swav": {
        "network": "cnn",
        "hidden": 16,
        "projection": 8,
        "prototypes": 20,
        "epochs": 2,
        "batch": 32,
        "queue": 64,
        "queue_epochs": 1,
        "warmup_epochs": 1,
        "precision": "fp32",
    },
    "prototypicality": {"starts": 1},
    "score_extrapolation": {"hidden": [16, 8], "epochs": 2},
    "dual": {"window": 2, "epochs": 3},
    "beta": {"epochs": 3},
    "dyn_unc": {"window": 2},
    "el2n": {"stop": 3},
}


def write(data: Path) -> None:
    """Write the files of all miniatures into a data folder."""
    for folder, dataset in CIFAR.items():
        test_cifar.write(data / folder, _cifar(dataset))
    for folder, fixture in (
        ("tiny-imagenet-200", test_tiny_imagenet.published),
        ("food-101", test_food101.published),
        ("SUN397", test_sun397.published),
        ("SUN397", test_sun397.lists),
        (test_caltech101.TOP, test_caltech101.published),
        ("imagenet1k", test_imagenet1k.training),
    ):
        test_food101.write(data / folder, _content(fixture))
    validation = test_imagenet1k.sorted_out(_content(test_imagenet1k.validation))
    test_food101.write(data / "imagenet1k", validation)


def _content(fixture: Any) -> Any:
    """Return the files by name that a fixture without arguments makes."""
    return inspect.unwrap(fixture)()


def _cifar(dataset: Dataset) -> dict[str, bytes]:
    """Return the files of the Python edition. Images are noise, and lighter from class to class."""
    miniature = test_cifar.Miniature(dataset)
    rng = np.random.default_rng(0)
    for name, (_, fine, coarse) in miniature.parts.items():
        times = 1 if "test" in name else MORE
        fine = np.tile(fine, times)
        coarse = np.tile(coarse, times)
        noise = rng.integers(0, 128, (len(fine), 3072))
        shade = 127 * fine[:, None] // len(dataset.classes)
        miniature.parts[name] = ((noise + shade).astype(np.uint8), fine, coarse)
    return miniature.python()


@dataclass(frozen=True, kw_only=True)
class Shrunken(Backbone):
    """A backbone whose embedding is the means of 4 x 4 blocks of pixels."""

    name: ClassVar[str] = "shrunken"

    def embed(self, images: Any) -> np.ndarray:
        """Return float32 [n, channels * (side / 4) ** 2]."""
        n, channels, side, _ = images.array.shape
        blocks = np.asarray(images.array, np.float32).reshape(n, channels, side // 4, 4, side // 4, 4)
        return blocks.mean(axis=(3, 5)).reshape(n, -1)


def stand_in(backbone: type[Backbone]) -> type[Backbone]:
    """Return a `Shrunken` with the name and the pretraining of a real backbone."""
    namespace = {"name": backbone.name, "pretraining": backbone.pretraining, "__module__": __name__}
    shrunken = type(f"Shrunken{backbone.__name__}", (Shrunken,), namespace)
    return dataclass(frozen=True, kw_only=True)(shrunken)


def recipes() -> Mapping[str, Any]:
    """Return the paper's recipes, shortened."""
    paper = real.recipe_table()["paper"]
    return {"paper": {name: _shorten(table, SIDES.get(name, PHOTO_SIDE)) for name, table in paper.items()}}


def _shorten(recipe: Mapping[str, Any], side: int) -> dict[str, Any]:
    short = {**recipe, **TRAINING, "side": side}
    if "final_iterations" in recipe:
        short["final_iterations"] = 20
    for part, values in PARTS.items():
        short[part] = {**recipe.get(part, {}), **values}
    return short


def install(patch: pytest.MonkeyPatch) -> None:
    """Replace the real datasets, backbones and recipes by small ones, until the patch is undone."""
    short = recipes()
    patch.setattr(real, "recipe_table", lambda: short)
    registered = load().found
    views = {
        name: replace(dataset, base=DATASETS[dataset.base.name])
        for name, dataset in registered["datasets"].items()
        if isinstance(dataset, View) and dataset.base.name in DATASETS
    }
    for name, dataset in (DATASETS | views).items():
        patch.setitem(registered["datasets"], name, dataset)
    for name in ("dino_vitb16", "swav_rn50", "clip_vitl14", "resnet18_imagenet"):
        patch.setitem(registered["backbones"], name, stand_in(registered["backbones"][name]))
