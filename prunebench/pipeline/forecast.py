"""How long stages will take: learnt from the manifests of stages like them, else from a short probe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from prunebench.errors import MissingArtefactError
from prunebench.parts.identity import construct
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import load_split
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage

ENOUGH = 50  # stages of a kind whose times a forecast rests on


@dataclass
class Forecast:
    """Seconds per unit of work, by kind of stage, what it runs and the dataset."""

    seen: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)

    def learn(self, stage: Stage, seconds: float) -> None:
        """Take in how long a stage took."""
        spent, work = self.seen.get(_like(stage), (0.0, 0.0))
        self.seen[_like(stage)] = (spent + seconds, work + stage.work)

    def estimate(self, stages: Iterable[Stage]) -> tuple[float, int]:
        """Return the seconds that stages will take on one worker, and how many of them cannot be told."""
        total, unknown = 0.0, 0
        for stage in stages:
            if _like(stage) in self.seen:
                spent, work = self.seen[_like(stage)]
                total += spent / work * stage.work
            else:
                unknown += not stage.instant
        return total, unknown


def _like(stage: Stage) -> tuple[str, str, str]:
    return stage.kind, stage.title, stage.dataset.name


def _some(stages: list[Stage]) -> list[Stage]:
    """Return `ENOUGH` of the stages or fewer, from all over, so that every ratio counts."""
    return stages[:: math.ceil(len(stages) / ENOUGH)]


def learnt(matrix: Matrix) -> Forecast:
    """Learn from what is stored of a matrix and was made on its device, of each kind from some of it."""
    forecast = Forecast()
    alike: dict[tuple[str, str, str], list[Stage]] = {}
    for stage in matrix.graph.stages.values():
        if stage.key in matrix.store:
            alike.setdefault(_like(stage), []).append(stage)
    for stage in itertools.chain.from_iterable(map(_some, alike.values())):
        with suppress(MissingArtefactError):  # set aside, so it counts as missing from now on
            manifest = matrix.store.manifest(stage.key)
            if manifest["device"] == matrix.device:
                forecast.learn(stage, manifest["seconds"])
    return forecast


def probe(matrix: Matrix, forecast: Forecast, stages: Iterable[Stage]) -> None:
    """Time a few steps of each kind of training that nothing is known about, where its data is there."""
    unknown = {
        _like(stage): stage
        for stage in stages
        if stage.training is not None
        and _like(stage) not in forecast.seen
        and not stage.root.startswith("absent:")
    }
    if not unknown:
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker computes
    for stage in unknown.values():
        forecast.learn(stage, _probed(matrix, stage) * stage.work)
    torch.set_num_threads(threads)


def _probed(matrix: Matrix, stage: Stage) -> float:
    """Return the seconds of a training on all images, from a few steps."""
    from prunebench.nn import training

    images = load_split(stage.dataset, matrix.data, "train")[0]
    recipe = construct(Recipe, stage.training or {}, "recipe")
    per_image = training.seconds_per_image(
        recipe,
        channels=images.channels,
        resolution=images.resolution,
        classes=len(stage.dataset.classes),
        device=matrix.device,
    )
    return per_image * (
        recipe.iterations * recipe.batch if recipe.iterations else recipe.epochs * len(images)
    )
