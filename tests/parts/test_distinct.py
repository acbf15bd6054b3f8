"""All methods that need no download: `small_all` lists them, and no two keep the same images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Subset
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench.pipeline import context, schedule
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.matrix import Matrix
from prunebench.suites import schema

# Methods that are one method under two names, on purpose.
ALIASES: set[frozenset[str]] = set()


@dataclass(frozen=True, kw_only=True)
class Handful(Dataset):
    """The first 200 of scikit-learn's digits, and trainings that take a second."""

    name: str = "handful"
    classes: ClassVar = tuple("0123456789")
    info: ClassVar = DatasetInfo(resolution=8, mean=(0.3,), std=(0.4,))
    recipes: ClassVar = {
        "tiny": {
            **{"network": "cnn", "epochs": 30, "batch": 64, "warmup": 0.2, "crop": 1, "padding": "zero"},
            "fixmatch": {"network": "cnn", "iterations": 30, "batch": 16, "mu": 2}
            | {"ema_warmup": True, "bn_momentum": 0.1},
            "temi": {
                "heads": 2,
                "neighbors": 10,
                "hidden": 32,
                "bottleneck": 16,
                "epochs": 20,
                "warmup_epochs": 2,
                "batch": 64,
            },
            "swav": {
                "network": "cnn",
                "hidden": 16,
                "projection": 8,
                "epochs": 2,
                "warmup_epochs": 1,
                "batch": 64,
            },
            "efficientnet_lite0": {"side": 32},
            "probe": {"backbone": "pixels"},
            "propagate": {"backbone": "pixels", "neighbors": 10},
        }
    }

    def files(self, root):
        return []

    def load(self, root, split):
        from sklearn.datasets import load_digits

        digits = load_digits()
        chosen = slice(200) if split == "train" else slice(200, 250)
        return (digits.images[chosen, None] * 15.9).astype(np.uint8), digits.target[chosen]


@pytest.fixture
def runnable(offer, matrix):
    """The names of the methods all of whose files are here: no weights, for the caches are empty."""
    known = offer(Handful(), owner="toys")
    methods = [method for method in known.found["methods"].values() if not method.reference]
    return [m.name for m in methods if ready(matrix(m.name, datasets=["handful"]))]


@pytest.fixture
def subsets(runnable, matrix, store):
    """The images that each of these methods keeps at ratio 50."""
    chosen = matrix(*runnable, datasets=["handful"])
    stages = {cell.method.name: chosen.graph.subset(cell) for cell in chosen.cells}
    outcome = schedule.walk(
        schedule.missing(stages.values(), store),
        store,
        InlineExecutor(lambda *_: None),
        chosen.job,
        lambda _: None,
    )
    assert not outcome.failures, outcome.failures
    yield {name: store.read(stage.key, Subset).index for name, stage in stages.items()}
    context.load_split.cache_clear()


def ready(matrix: Matrix) -> bool:
    """Whether every file is here that the parts of a matrix read."""
    try:
        matrix.check_parts(matrix.graph.stages)
    except PrunebenchError:
        return False
    return True


def test_small_all_lists_every_method_that_needs_no_download(runnable):
    assert sorted(schema.read("small_all").file.methods) == sorted(runnable)


def test_every_method_keeps_images_of_its_own(subsets):
    assert {len(index) for index in subsets.values()} == {100}
    equal = {
        frozenset(pair)
        for pair in combinations(subsets, 2)
        if np.array_equal(subsets[pair[0]], subsets[pair[1]])
    }
    assert equal == ALIASES
