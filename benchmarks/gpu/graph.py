"""Does a CUDA graph change what a training learns?

From each seed the same network trains three times: recorded as a CUDA graph, and twice launched kernel by
kernel. A GPU sums in no fixed order, so two launched trainings differ, too. The graph is no cause of a
difference that is no larger than theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.session import Session
from prunebench.nn import loop, training
from prunebench.parts import registry
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.suites.recipes import recipe_for

SEEDS = 2
EPOCHS = 5
DATASET, RECIPE = "cifar10_jpeg", "short"
TINY_DATASET, TINY_RECIPE = "digits", "tiny"


class Watched(training._Run):
    """A training that keeps the loss of each step, on the GPU."""

    losses: torch.Tensor

    def advance(self) -> torch.Tensor:
        """Make one step on the next images; return the loss before it."""
        loss = super().advance()
        self.losses[self.step - 1] = loss
        return loss


@dataclass(frozen=True)
class Task:
    """What is trained: images and labels of both splits, and how."""

    train: tuple[Images, np.ndarray]
    test: tuple[Images, np.ndarray]
    classes: int
    recipe: Recipe


def task(data: Path, rehearse: bool) -> Task:
    """Return the task. Raise PrunebenchError if the dataset is not in the folder `data`."""
    dataset = registry.load().dataset(TINY_DATASET if rehearse else DATASET)
    recipe, _parts = recipe_for(TINY_RECIPE if rehearse else RECIPE, dataset)
    splits = []
    for split in ("train", "test"):
        array, labels = dataset.load(data, split)
        splits.append((Images(array, mean=dataset.mean, std=dataset.std, device="cuda"), labels))
    short = replace(recipe, epochs=1 if rehearse else EPOCHS)
    return Task(splits[0], splits[1], len(dataset.classes), short)


def trained(task: Task, seed: int, recorded: bool) -> Watched:
    """Train from a seed, and return the training."""
    images, labels = task.train
    rng, index = np.random.default_rng(seed), np.arange(len(images))
    run = Watched(images, labels, index, task.recipe, classes=task.classes, rng=rng, record=False)
    run.made.recordable = recorded
    run.test = task.test
    run.losses = torch.zeros(run.steps, device="cuda")
    loop.run(run, None, None)
    return run


def found(run: Watched, first: Watched) -> dict[str, Any]:
    """Return what a training learned, and how far its losses are from those of the first."""
    apart = (run.losses - first.losses).abs()
    return {
        "graph": run.made.replay is not None,
        "accuracy": run.history[-1][1],
        "loss_of_last_epoch": float(run.losses[-run.per_epoch :].mean()),
        "loss_difference_of_first_epoch": float(apart[: run.per_epoch].mean()),
        "loss_difference_of_last_epoch": float(apart[-run.per_epoch :].mean()),
    }


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield what each training learned."""
    chosen = task(session.data, session.rehearse)
    recipe = chosen.recipe
    about = {"network": recipe.network, "precision": recipe.precision, "epochs": recipe.epochs}
    for seed in range(SEEDS):
        first = trained(chosen, seed, recorded=False)
        yield {"finding": "training", **about, "seed": seed, "steps": "launched", **found(first, first)}
        for steps in ("recorded", "launched again"):
            run = trained(chosen, seed, recorded=steps == "recorded")
            yield {"finding": "training", **about, "seed": seed, "steps": steps, **found(run, first)}
