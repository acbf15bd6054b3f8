"""The paper's datasets as miniatures: all classes, in the real layouts, for trainings of a second.

Their files are those of the tests of their loaders. Backbones with pretrained weights, which are large
and not here, have stand-ins under the same names that see shrunken pixels; the real ones have their own
tests, as have the networks of the paper's recipes.
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

MORE = 5  # times as many images of CIFAR as its loader's tests have: some must be left of a long tail
STORED = 16  # pixels of photos, of which the networks see 14, as 224 of 256
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

# Over the paper's recipes, of which augmentation, optimiser and c_d stay as they are.
TRAINING = {"network": "cnn", "epochs": 4, "batch": 64, "evaluate_every": 2}
SEEN = {"cifar10": 16, "cifar100": 16, "tiny_imagenet": 16}  # pixels; of photos 14
PARTS: dict[str, dict[str, Any]] = {
    "temi": {"heads": 2, "neighbours": 5, "hidden": 16, "bottleneck": 8, "lr": 0.01}
    | {"epochs": 4, "warmup_epochs": 1, "batch": 32},
    "zcore": {"rounds": 2000, "neighbours": 20},
    "fixmatch": {"network": "cnn", "epochs": 1, "batch": 8, "mu": 2, "precision": "fp32"},
    "swav": {"network": "cnn", "hidden": 16, "projection": 8, "prototypes": 20, "epochs": 2, "batch": 32}
    | {"queue": 64, "queue_epochs": 1, "warmup_epochs": 1, "precision": "fp32"},
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
    for folder, fixtures in {
        "tiny-imagenet-200": [test_tiny_imagenet.published],
        "food-101": [test_food101.published],
        "SUN397": [test_sun397.published, test_sun397.lists],
        test_caltech101.TOP: [test_caltech101.published],
        "imagenet1k": [test_imagenet1k.training],
    }.items():
        for fixture in fixtures:
            test_food101.write(data / folder, _content(fixture))
    validation = test_imagenet1k.sorted_out(_content(test_imagenet1k.validation))
    test_food101.write(data / "imagenet1k", validation)


def _content(fixture: Any) -> Any:
    """Return what a fixture without arguments makes: files by name."""
    return inspect.unwrap(fixture)()


def _cifar(dataset: Dataset) -> dict[str, bytes]:
    """Return the files of the Python edition; images are noise, lighter from class to class."""
    miniature, rng = test_cifar.Miniature(dataset), np.random.default_rng(0)
    for name, (_, fine, coarse) in miniature.parts.items():
        times = 1 if "test" in name else MORE
        fine, coarse = np.tile(fine, times), np.tile(coarse, times)
        noise = rng.integers(0, 128, (len(fine), 3072))
        shade = 127 * fine[:, None] // len(dataset.classes)
        miniature.parts[name] = ((noise + shade).astype(np.uint8), fine, coarse)
    return miniature.python()


@dataclass(frozen=True, kw_only=True)
class Shrunken(Backbone):
    """The means of 4 x 4 blocks of pixels."""

    name: ClassVar[str] = "shrunken"

    def embed(self, images: Any) -> np.ndarray:
        """Return float32 [n, channels * (side / 4) ** 2]."""
        n, channels, side, _ = images.array.shape
        blocks = np.asarray(images.array, np.float32).reshape(n, channels, side // 4, 4, side // 4, 4)
        return blocks.mean(axis=(3, 5)).reshape(n, -1)


def stand_in(backbone: type[Backbone]) -> type[Backbone]:
    """Return the backbone of this name for tests, which says that it was pretrained as the real one was."""
    own = {"name": backbone.name, "pretraining": backbone.pretraining, "__module__": __name__}
    return dataclass(frozen=True, kw_only=True)(type(f"Shrunken{backbone.__name__}", (Shrunken,), own))


def recipes() -> Mapping[str, Any]:
    """Return the paper's recipes, shortened."""
    paper = real.recipe_table()["paper"]
    return {"paper": {name: _shortened(table, SEEN.get(name, 14)) for name, table in paper.items()}}


def _shortened(table: Mapping[str, Any], side: int) -> dict[str, Any]:
    steps = {"final_iterations": 20} if "final_iterations" in table else {}
    return {**table, **TRAINING, **steps, "side": side} | {
        part: {**table.get(part, {}), **values} for part, values in PARTS.items()
    }


def install(patch: pytest.MonkeyPatch) -> None:
    """Put miniatures, stand-ins and shortened recipes where the real ones are, until the patch is undone."""
    short = recipes()
    patch.setattr(real, "recipe_table", lambda: short)
    found = load().found
    views = {
        name: replace(dataset, base=DATASETS[dataset.base.name])
        for name, dataset in found["datasets"].items()
        if isinstance(dataset, View) and dataset.base.name in DATASETS
    }
    for name, dataset in (DATASETS | views).items():
        patch.setitem(found["datasets"], name, dataset)
    for name in ("dino_vitb16", "swav_rn50", "clip_vitl14", "resnet18_imagenet"):
        patch.setitem(found["backbones"], name, stand_in(found["backbones"][name]))
