"""Forecasts of time, memory and disk from the manifests of similar stages. Time else from a short probe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prunebench.errors import MissingArtefactError
from prunebench.parts.identity import construct
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import load_split
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.step_times import StepTimes, as_in_a_worker

ENOUGH = 50  # manifests to read per kind of stage


@dataclass
class Forecast:
    """Forecasts what stages take from what similar ones took.

    seen: seconds and work so far, by kind, title and dataset of stages.
    peaks: the most bytes of memory that one took, by the same.
    stored: the most bytes that the artefacts of one take on the disk, by the same.
    """

    seen: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)
    peaks: dict[tuple[str, str, str], int] = field(default_factory=dict)
    stored: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def learn(self, stage: Stage, seconds: float) -> None:
        """Add the time that a stage took."""
        total, work = self.seen.get(_like(stage), (0.0, 0.0))
        self.seen[_like(stage)] = (total + seconds, work + stage.work)

    def weigh(self, stage: Stage, manifest: Mapping[str, Any]) -> None:
        """Add the memory and the disk that a stage took, as its manifest has them."""
        for most, found in ((self.peaks, manifest["peak_bytes"]), (self.stored, manifest["bytes"])):
            if found is not None:  # no system but Linux, macOS and CUDA says a peak
                most[_like(stage)] = max(found, most.get(_like(stage), 0))

    def memory(self, stage: Stage) -> int | None:
        """Return the most bytes that such stages took, or None if nobody knows.

        They are of the GPU if the stage runs there. Else they are of its process, with all that this process
        had made before.
        """
        return self.peaks.get(_like(stage))

    def disk(self, stage: Stage) -> int | None:
        """Return the most bytes that the artefacts of such a stage take on the disk, or None if unknown."""
        return self.stored.get(_like(stage))

    def estimate(self, stages: Iterable[Stage]) -> tuple[float, int]:
        """Return the seconds that stages take on one worker, and the number of stages without a forecast.

        Such stages add nothing to the seconds. Instant stages need no forecast.
        """
        total = 0.0
        unknown = 0
        for stage in stages:
            if _like(stage) in self.seen:
                seconds, work = self.seen[_like(stage)]
                total += seconds / work * stage.work
            elif not stage.instant:
                unknown += 1
        return total, unknown


def _like(stage: Stage) -> tuple[str, str, str]:
    """Return kind, title and dataset. Stages that agree in these take the same time per unit of work."""
    return stage.kind, stage.title, stage.dataset.name


def _some(stages: list[Stage]) -> list[Stage]:
    """Return at most ENOUGH of the stages, evenly spaced, so that every ratio counts."""
    return stages[:: math.ceil(len(stages) / ENOUGH)]


def forecast_from_store(matrix: Matrix) -> Forecast:
    """Return a forecast from the stored stages of a matrix that were made on its device.

    Reads at most ENOUGH manifests of similar stages.
    """
    forecast = Forecast()
    alike: dict[tuple[str, str, str], list[Stage]] = {}
    for stage in matrix.graph.stages.values():
        if stage.key in matrix.store:
            alike.setdefault(_like(stage), []).append(stage)
    for stage in itertools.chain.from_iterable(map(_some, alike.values())):
        with suppress(MissingArtefactError):  # damaged, and quarantined now
            manifest = matrix.store.manifest(stage.key)
            if manifest["device"] == matrix.device_of(stage):
                forecast.learn(stage, manifest["seconds"])
                forecast.weigh(stage, manifest)
    return forecast


def probe(matrix: Matrix, forecast: Forecast, stages: Iterable[Stage]) -> None:
    """Time a few steps of each kind of training that has no forecast yet and whose data is here."""
    unknown: dict[tuple[str, str, str], Stage] = {}
    for stage in stages:
        absent = stage.root.startswith("absent:")
        if stage.training is not None and not absent and _like(stage) not in forecast.seen:
            unknown[_like(stage)] = stage
    if not unknown:
        return  # without importing torch
    times = StepTimes(matrix.device)
    with as_in_a_worker():
        for stage in unknown.values():
            forecast.learn(stage, _probed(matrix, stage, times) * stage.work)


def _probed(matrix: Matrix, stage: Stage, times: StepTimes) -> float:
    """Return the seconds of a training on all labeled images, extrapolated from a few steps."""
    images, labels = load_split(stage.dataset, matrix.data, "train")
    return times.training(
        stage,
        construct(Recipe, stage.training or {}, "recipe"),
        int((labels >= 0).sum()),
        channels=images.channels,
        resolution=images.resolution,
        classes=len(stage.dataset.classes),
    )
