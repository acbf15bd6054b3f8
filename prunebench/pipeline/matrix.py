"""The matrix of cells: what it needs, what is stored, running it, and turning cells into rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts.artefacts import Accuracy, Choice, Labels, Quality, Scores, Subset
from prunebench.parts.base import Backbone, Labeler, Part
from prunebench.parts.identity import map_parts
from prunebench.parts.registry import load
from prunebench.pipeline import schedule
from prunebench.pipeline.stages import Graph, Job, Stage, dataset_key
from prunebench.pipeline.store import Store
from prunebench.results.rows import Failure, Result
from prunebench.suites.cells import PROTOCOL, Cell
from prunebench.suites.tuning import SEARCHED


@dataclass
class Matrix:
    """Cells, and where their data, artefacts and results live."""

    cells: list[Cell]
    store: Store
    data: Path
    device: str
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

    def check_parts(self, needed: Mapping[str, Stage]) -> None:
        """Raise PrunebenchError where a part of the `needed` stages reads a file that is not there."""
        parts = [stage.identity["part"] for stage in needed.values() if "part" in stage.identity]
        lacking: dict[str, None] = {}
        for part in map(load().rebuild, parts):
            try:
                part.ready()
            except PrunebenchError as error:
                lacking[str(error)] = None
        if lacking:
            raise PrunebenchError("; ".join(lacking))

    def missing(self) -> dict[str, Stage]:
        """Return the stages that are not stored, by key, inputs first.

        A row tells what each stage of its cell cost, so a stage that is lost is missing, whatever was made
        from it. That what is stored is whole is seen when it is read.
        """
        return {key: stage for key, stage in self.graph.stages.items() if key not in self.store}

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
            root=stage.root,
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

        Where a row finds something damaged or gone, that is made again and the row tried again.
        Return the failed cells, each with the error that kept it from finishing.
        """
        failures: dict[Cell, Exception] = {}
        cells = list(self.graph.targets)
        for _ in range(1 + schedule.REPAIRS):
            failed, torn = self._round(cells, needed, executor, made, done)
            failures |= failed
            cells = list(torn)
            needed = self._damaged(cells)
            if not cells:
                break
        why = f"is gone or damaged, however often it is made; find out what else changes {self.store.root}"
        lost = {cell: PrunebenchError(f"artefact {error.key[:12]} {why}") for cell, error in torn.items()}
        return failures | lost

    def _damaged(self, cells: Iterable[Cell]) -> dict[str, Stage]:
        """Return the stages of some cells whose entries are gone or not whole, by key, inputs first."""
        stages = {stage.key: stage for cell in cells for stage in self.graph.lineage(cell)}
        return {key: stage for key, stage in stages.items() if not self.store.verify(key)}

    def _round(
        self,
        cells: list[Cell],
        needed: dict[str, Stage],
        executor: schedule.Executor,
        made: Callable[[Stage], None],
        done: Callable[[Cell, Result], None],
    ) -> tuple[dict[Cell, Exception], dict[Cell, MissingArtefactError]]:
        """Make the `needed` stages and the rows of `cells`.

        Return the failed cells, and those to try again, each with its error.
        """
        left: dict[Cell, set[str]] = {}
        cells_of: dict[str, list[Cell]] = {}
        torn: dict[Cell, MissingArtefactError] = {}

        def tell(cell: Cell) -> None:
            try:
                row = self.row(cell)
            except MissingArtefactError as error:
                torn[cell] = error
            else:
                done(cell, row)

        def finished(stage: Stage) -> None:
            made(stage)
            for cell in cells_of.get(stage.key, []):
                left[cell].remove(stage.key)
                if not left[cell]:
                    tell(cell)

        for cell in cells:
            left[cell] = {stage.key for stage in self.graph.lineage(cell) if stage.key in needed}
            for key in left[cell]:
                cells_of.setdefault(key, []).append(cell)
            if not left[cell]:
                tell(cell)
        outcome = schedule.walk(needed, self.store, executor, self.job, finished)
        errors = {cell: map(outcome.failure, self.graph.ends(cell)) for cell in cells}
        failed = {cell: next(filter(None, found), None) for cell, found in errors.items()}
        return {cell: error for cell, error in failed.items() if error is not None}, torn

    def row(self, cell: Cell) -> Result:
        """Turn a finished cell into its row, from the store alone.

        Raise MissingArtefactError where something of its lineage is gone or damaged.
        """
        target = self.graph.targets[cell]
        accuracy = self.store.read(target.key, Accuracy)
        manifest = self.store.manifest(target.key)
        subset_stage = target.inputs["subset"]
        subset = self.store.read(subset_stage.key, Subset)
        selection, total = self._labels(cell, subset)
        seconds, gpu_seconds = self._seconds(target)
        labeler = cell.method.labeler
        judged = self.graph.qualities[cell]
        quality = self.store.read(judged.key, Quality) if judged else None
        tuned_on, tuned = self._tuned(cell)
        return Result(
            **self._record(cell),
            tuned_on=tuned_on,
            tuned=tuned,
            trials=sum(stage.kind == "validation" for stage in target.ancestors()) if tuned else 0,
            accuracy=accuracy.accuracy,
            best_accuracy=accuracy.best_accuracy,
            balanced_accuracy=accuracy.balanced_accuracy,
            worst_decile_recall=accuracy.worst_decile_recall,
            images=subset.images,
            kept=len(subset),
            kept_per_class=accuracy.kept_per_class,
            lost_classes=accuracy.kept_per_class.count(0),
            constant_scores=self._constant_scores(subset_stage),
            label_draw=labeler.sampling if labeler and 0 < labeler.annotation < 1 else None,
            labels_selection=selection,
            labels_training=len(subset) if cell.method.final == "truth" else 0,
            labels_total=total,
            labeler=title(labeler) if labeler else None,
            quality=quality.metrics if quality else {},
            labels_per_class=quality.labels_per_class if quality else [],
            pretraining=pretraining(cell.method.parts.values()),
            seconds=seconds,
            gpu_seconds=gpu_seconds,
            micro_batch=self._micro_batch(target),
            device=manifest["device"],
            device_name=manifest["device_name"],
            subset_key=subset_stage.key,
            accuracy_key=target.key,
            versions=manifest["versions"],
            commit=manifest["commit"],
            date=manifest["made"],
        )

    def failure(self, cell: Cell, why: str) -> Failure:
        """Return what is on record of a cell that failed."""
        return Failure(**self._record(cell), failed=why)

    def _record(self, cell: Cell) -> dict[str, Any]:
        """Return what a cell is, as every record of it tells."""
        method, beside = cell.method, cell.method.beside
        return {
            "suite": cell.suite,
            "method": method.name,
            "title": method.title,
            "reference": method.reference,
            "beside": beside.name if beside else None,
            "method_key": cell.method_key,
            "dataset": cell.dataset.name,
            "dataset_hash": self.graph.roots[cell.dataset.name],
            "recipe": cell.recipe_name,
            "repeats": cell.repeats,
            "tuning": cell.tuning,
            "changes": dict(cell.changes),
            "ratio": cell.ratio,
            "seed": cell.seed,
            "annotation": method.annotation,
            "protocol_version": PROTOCOL,
        }

    def _constant_scores(self, subset: Stage) -> bool:
        """Whether a selection was made by scores that are all the same."""
        scores = subset.inputs.get("scores")
        return scores is not None and bool(np.ptp(self.store.read(scores.key, Scores).values) == 0)

    def _tuned(self, cell: Cell) -> tuple[str, dict[str, float]]:
        """Return what the tuned fields of a cell were chosen by, and their values."""
        choices = self.graph.choices(cell)
        if choices:
            values = {name.partition("/")[2]: stage.key for name, stage in choices.items()}
            return SEARCHED[cell.tuning], {n: self.store.read(k, Choice).value for n, k in values.items()}
        if cell.published:
            return "the paper, perhaps on the test split", cell.published
        return "nothing", {}

    def _labels(self, cell: Cell, subset: Subset) -> tuple[int, int]:
        """Return how many true labels were handed out before the selection, and with the kept ones in all.

        What is not trained with true labels asks for none of the kept ones.
        """
        if cell.method.annotation == 0:
            return 0, len(subset) if cell.method.final == "truth" else 0
        if cell.method.annotation == 1:
            return subset.images, subset.images
        draw = self.graph.draws[cell]
        assert draw is not None
        paid = self.store.read(draw.key, Labels).paid.copy()
        handed_out = int(paid.sum())
        if cell.method.final == "truth":
            paid[subset.index] = True
        return handed_out, int(paid.sum())

    def _micro_batch(self, target: Stage) -> int | None:
        """Return the fewest images that a training of a cell saw at once for lack of memory, if any did."""
        stored = [stage.key for stage in target.ancestors(searching=False) if stage.key in self.store]
        sizes = [self.store.manifest(key).get("micro_batch") for key in stored]
        return min((size for size in sizes if size is not None), default=None)

    def _seconds(self, target: Stage) -> tuple[dict[str, float], dict[str, float]]:
        """Sum the seconds of a cell's stages by kind, as if it had been run alone: all, and on a GPU.

        What a search made and the cell itself does not need counts as "search", whatever it is.
        """
        seconds: dict[str, float] = {}
        gpu: dict[str, float] = {}
        own = {stage.key for stage in target.ancestors(searching=False)}
        for stage in target.ancestors():
            kind = stage.kind if stage.key in own else "search"
            manifest = self.store.manifest(stage.key)
            for table in (seconds, gpu) if manifest["device"] == "cuda" else (seconds,):
                table[kind] = round(table.get(kind, 0.0) + manifest["seconds"], 4)
        return seconds, gpu


def title(labeler: Labeler) -> str:
    """Name a labeler together with the backbones it looks at, or its file: temi on pixels."""
    path = getattr(labeler, "path", None)
    found = [path.name] if isinstance(path, Path) else []

    def visit(part: Part) -> Part:
        if isinstance(part, Backbone):
            found.append(part.name)
        return part

    map_parts(labeler, visit)
    return f"{labeler.name} on {' + '.join(found)}" if found else labeler.name


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
