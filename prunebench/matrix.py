"""The matrix of cells: what it needs, what is stored, running it, and turning cells into rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prunebench import schedule
from prunebench.artefacts import Accuracy, Labels, Subset
from prunebench.errors import PrunebenchError
from prunebench.identity import map_parts
from prunebench.parts import Backbone, Part
from prunebench.results import Result
from prunebench.stages import Graph, Job, Stage, dataset_key
from prunebench.store import Store
from prunebench.suite import PROTOCOL, Cell


@dataclass
class Matrix:
    """Cells, and where their data, artefacts and results live."""

    cells: list[Cell]
    store: Store
    data: Path
    device: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    datasets: Mapping[str, Any] = field(default_factory=dict)  # name -> what the registry makes it from

    @cached_property
    def graph(self) -> Graph:
        """The stages of all cells, keyed by the data as it is on disk now."""
        datasets = {cell.dataset.name: cell.dataset for cell in self.cells}
        return Graph(self.cells, {n: dataset_key(d, self.data, self.store) for n, d in datasets.items()})

    def fetch(self) -> None:
        """Download what is absent and can be downloaded; raise DataAbsentError for the rest."""
        for dataset in {cell.dataset.name: cell.dataset for cell in self.cells}.values():
            dataset.fetch(self.data)

    def missing(self) -> dict[str, Stage]:
        """Return the stages that are not stored and that some cell needs, by key."""
        return schedule.missing(self.graph.targets.values(), self.store)

    def job(self, stage: Stage) -> Job:
        """Describe the making of a stage in plain JSON."""
        return Job(
            kind=stage.kind,
            key=stage.key,
            title=stage.title,
            identity=stage.identity,
            inputs={name: upstream.key for name, upstream in stage.inputs.items()},
            dataset=self.datasets.get(stage.dataset.name, stage.dataset.name),
            data=str(self.data),
            store=str(self.store.root),
            device=self.device,
        )

    def check_device(self) -> None:
        """Raise PrunebenchError for a recipe that this device cannot run faithfully."""
        for cell in self.cells:
            if cell.recipe.precision != "fp32" and self.device == "cpu":
                raise PrunebenchError(
                    f"recipe {cell.recipe_name!r} trains {cell.dataset.name} in {cell.recipe.precision}, "
                    "which a CPU cannot do faithfully; use --device cuda or another --recipe"
                )

    def run(
        self,
        executor: schedule.Executor,
        needed: dict[str, Stage],
        made: Callable[[Stage], None],
        done: Callable[[Cell, Result], None],
    ) -> dict[Cell, Exception]:
        """Make the `needed` stages; `made` hears of each, `done` of each cell as soon as it has its row.

        Return the failed cells, each with the error that kept it from finishing.
        """
        cells_of: dict[str, list[Cell]] = {}
        for cell, stage in self.graph.targets.items():
            cells_of.setdefault(stage.key, []).append(cell)

        def finished(stage: Stage) -> None:
            made(stage)
            for cell in cells_of.get(stage.key, []):
                done(cell, self.row(cell))

        for key, cells in cells_of.items():
            if key not in needed:
                for cell in cells:
                    done(cell, self.row(cell))
        outcome = schedule.walk(needed, executor, self.job, finished)
        failures = {cell: outcome.failure(stage) for cell, stage in self.graph.targets.items()}
        return {cell: error for cell, error in failures.items() if error is not None}

    def row(self, cell: Cell) -> Result:
        """Turn a finished cell into its row, from the store alone."""
        target = self.graph.targets[cell]
        accuracy = self.store.read(target.key, Accuracy)
        manifest = self.store.manifest(target.key)
        subset_stage = target.inputs["subset"]
        subset = self.store.read(subset_stage.key, Subset)
        selection, total = self._labels(cell, subset_stage, subset)
        seconds, gpu_seconds = self._seconds(target)
        beside = cell.method.beside
        return Result(
            suite=cell.suite,
            method=cell.method.name,
            title=cell.method.title,
            reference=cell.method.reference,
            beside=beside.name if beside else None,
            method_key=cell.method_key,
            dataset=cell.dataset.name,
            dataset_hash=target.root,
            recipe=cell.recipe_name,
            repeats=cell.repeats,
            tuning=cell.tuning,
            changes=dict(self.changes),
            ratio=cell.ratio,
            seed=cell.seed,
            accuracy=accuracy.accuracy,
            best_accuracy=accuracy.best_accuracy,
            balanced_accuracy=accuracy.balanced_accuracy,
            worst_decile_recall=accuracy.worst_decile_recall,
            images=subset.images,
            kept=len(subset),
            kept_per_class=accuracy.kept_per_class,
            lost_classes=accuracy.kept_per_class.count(0),
            annotation=cell.method.annotation,
            label_draw=cell.method.labeler.sampling
            if 0 < cell.method.annotation < 1 and cell.method.labeler
            else None,
            labels_selection=selection,
            labels_training=len(subset),
            labels_total=total,
            pretraining=pretraining(cell.method.parts.values()),
            seconds=seconds,
            gpu_seconds=gpu_seconds,
            device=manifest["device"],
            device_name=manifest["device_name"],
            subset_key=subset_stage.key,
            accuracy_key=target.key,
            protocol_version=PROTOCOL,
            versions=manifest["versions"],
            commit=manifest["commit"],
            date=manifest["made"],
        )

    def _labels(self, cell: Cell, subset_stage: Stage, subset: Subset) -> tuple[int, int]:
        """Return how many true labels were handed out before the selection, and with the kept ones in all."""
        if cell.method.labeler is None or cell.method.annotation == 0:
            return 0, len(subset)
        if cell.method.annotation == 1:
            return subset.images, subset.images
        draw = next(s for s in subset_stage.ancestors() if s.kind == "known")
        paid = self.store.read(draw.key, Labels).paid.copy()
        handed_out = int(paid.sum())
        paid[subset.index] = True
        return handed_out, int(paid.sum())

    def _seconds(self, target: Stage) -> tuple[dict[str, float], dict[str, float]]:
        """Sum the seconds of a cell's stages by kind, as if it had been run alone: all, and on a GPU."""
        seconds: dict[str, float] = {}
        gpu: dict[str, float] = {}
        for stage in target.ancestors():
            if stage.key in self.store:
                manifest = self.store.manifest(stage.key)
                for table in (seconds, gpu) if manifest["device"] == "cuda" else (seconds,):
                    table[stage.kind] = round(table.get(stage.kind, 0.0) + manifest["seconds"], 4)
        return seconds, gpu


def pretraining(parts: Iterable[Part]) -> list[str]:
    """Say for each backbone in `parts` what it saw before."""
    found: list[str] = []

    def visit(part: Part) -> Part:
        if isinstance(part, Backbone) and part.pretraining is not None:
            seen = part.pretraining
            found.append(f"{part.name}: {seen.images} images, labels {seen.labels}, {seen.source}")
        return part

    for part in parts:
        map_parts(part, visit)
    return found
