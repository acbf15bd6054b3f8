"""Training steps on images that do not fit on the GPU, beside the same steps on images that do.

| images | where they are |
|---|---|
| on the GPU | all of them |
| in memory | on the host, read ahead |
| in a file | in a map of a file without content, larger than the free memory of the GPU, read ahead |
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.measure import Step, timed, tried
from benchmarks.gpu.session import Session
from prunebench.nn import training
from prunebench.parts.images import Images, free_bytes
from prunebench.parts.recipe import Recipe

SHAPE = (3, 256, 256)
CLASSES = 10
BATCHES = 128  # of the images that fit
NEVER = 10**3  # epochs
PHOTOS = Recipe(
    network="resnet18",
    epochs=NEVER,
    batch=128,
    precision="bf16",
    resized_crop=(0.08, 1.0),
    flip=True,
    side=224,
)
RECIPES = (PHOTOS, replace(PHOTOS, network="resnet50"))
TINY_RECIPES = (replace(PHOTOS, network="cnn", batch=4, side=8),)
RNG = np.random.default_rng(0)


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the time of a step with the images in each place, and its ratio to that on the GPU."""
    with tempfile.NamedTemporaryFile(dir=session.out) as file:
        yield from of_recipes(too_many(Path(file.name)), session)


def of_recipes(many: np.ndarray, session: Session) -> Iterator[dict[str, Any]]:
    """Yield the findings of all recipes.

    many: images in a file, too many for the GPU.
    """
    for recipe in TINY_RECIPES if session.rehearse else RECIPES:
        few = RNG.integers(256, size=(BATCHES * recipe.batch, *SHAPE), dtype=np.uint8)
        places = {
            "on the GPU": partial(begun, few, recipe),
            "in memory": partial(begun, few, recipe, reads_ahead=True),
            "in a file": partial(begun, many, recipe),
        }
        times: dict[str, float] = {}
        for place, make in places.items():
            found = tried(timed, make, recipe.precision, session)
            if "ms" in found:
                times[place] = found["ms"]
                found["times_as_long_as"] = {other: found["ms"] / ms for other, ms in times.items()}
            about = {"network": recipe.network, "side": recipe.side, "batch": recipe.batch}
            yield {"finding": "reading ahead", **about, "images": place, **found}


def too_many(path: Path) -> np.ndarray:
    """Return images that take more memory than is free on the GPU, of a file that gets no content."""
    count = 1 + free_bytes("cuda") // int(np.prod(SHAPE))
    os.truncate(path, count * int(np.prod(SHAPE)))
    return np.memmap(path, np.uint8, "r", shape=(count, *SHAPE))


def begun(array: np.ndarray, recipe: Recipe, reads_ahead: bool = False) -> Step:
    """Return a step of a training on these images.

    reads_ahead: whether the images are read ahead even if they fit.
    """
    images = Images(array, mean=(0.5,) * 3, std=(0.25,) * 3, device="cuda")
    labels, index = RNG.integers(CLASSES, size=len(images)), np.arange(len(images))
    run = training._Run(images, labels, index, recipe, classes=CLASSES, rng=RNG, record=False)
    run.reader.reads_ahead |= reads_ahead
    return run.advance
