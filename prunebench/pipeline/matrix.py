"""The matrix of cells: what it needs, what is stored, and running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts.base import Backbone
from prunebench.parts.dataset import Dataset
from prunebench.parts.precision import can_run
from prunebench.parts.registry import load
from prunebench.pipeline import schedule
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.executors.engine import Executor
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.job import Job
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.suites.cells import Cell
from prunebench.suites.exams import TESTS
from prunebench.system.garbage import no_garbage


@dataclass
class Matrix:
    """Cells, where their data, artefacts and results live, and where they are computed.

    device: "cpu" or "cuda".
    specs: what the registry makes a dataset from, by its name. Without one it is the name.
    gpus: the GPUs of this machine for them, as CUDA_VISIBLE_DEVICES names them. (): the first one.
    """

    cells: list[Cell]
    store: Store
    data: Path
    device: str
    specs: Mapping[str, Any] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The datasets of the cells, each once."""
        return list({cell.dataset.name: cell.dataset for cell in self.cells}.values())

    @cached_property
    def graph(self) -> Graph:
        """The stages of all cells, keyed by the data as it is on disk now."""
        return Graph(self.cells, roots_of(self.datasets, self.data, self.store))

    def fetch(self) -> None:
        """Download what is absent and can be downloaded; raise DataAbsentError for the rest.

        Raise PrunebenchError if a dataset has a single class.
        """
        for dataset in self.datasets:
            dataset.fetch(self.data)
            if len(dataset.classes) < 2:
                alone = ", ".join(dataset.classes)
                raise PrunebenchError(
                    f"dataset {dataset.name} has the class {alone!r} alone; a network needs two"
                )

    def check_data(self) -> None:
        """Raise DataAbsentError if a dataset is not on this machine. Keys follow from its content."""
        for dataset in self.datasets:
            if self.graph.roots[dataset.name].startswith("absent:"):
                dataset.files(self.data)

    def check_parts(self, needed: Mapping[str, Stage]) -> None:
        """Raise PrunebenchError where a part of the `needed` stages reads a file that is not there."""
        identities = [stage.identity for stage in needed.values()]
        parts = [values[name] for values in identities for name in ("part", "backbone") if name in values]
        lacking: dict[str, None] = {}
        for part in map(load().rebuild, parts):
            try:
                part.ready()
            except PrunebenchError as error:
                lacking[str(error)] = None
        if lacking:
            raise PrunebenchError("; ".join(lacking))

    def missing(self, *, sound: bool = False) -> dict[str, Stage]:
        """Return the stages that are not stored, by key, inputs first.

        sound: whether all manifests are read, so that a stage with a damaged one is missing, too.

        A row says what each stage of its cell cost, so a stage that is lost is missing, whatever was made
        from it. That a payload is whole is seen when it is read.
        """
        stored = self.store.sound if sound else self.store.__contains__
        with no_garbage():  # of which manifests are none
            return {key: stage for key, stage in self.graph.stages.items() if not stored(key)}

    def job(self, stage: Stage) -> Job:
        """Describe the making of a stage in plain JSON."""
        return Job(
            kind=stage.kind,
            key=stage.key,
            title=stage.title,
            identity=stage.identity,
            inputs=[[given.name, given.of, given.source.key] for given in stage.inputs],
            dataset=self.specs.get(stage.dataset.name, stage.dataset.name),
            data=str(self.data),
            store=str(self.store.root),
            device=self.device_of(stage),
            root=stage.root,
        )

    def device_of(self, stage: Stage) -> str:
        """Return the device on which a stage computes: "cpu" or "cuda"."""
        return self.device if stage.on_device else "cpu"

    def check_device(self) -> None:
        """Raise PrunebenchError for a recipe that this device cannot run faithfully."""
        for cell in self.cells:
            if not can_run(cell.recipe.precision, self.device):
                raise PrunebenchError(
                    f"recipe {cell.recipe_name!r} trains {cell.dataset.name} in {cell.recipe.precision}, "
                    "which a CPU cannot do faithfully; use --device cuda or another --recipe"
                )

    def check_networks(self) -> None:
        """Raise PrunebenchError if a network that selections know nothing of cannot see the images.

        It would fail hours later otherwise, after all of them.
        """
        cells = {(cell.dataset.name, cell.recipe, cell.exams): cell for cell in self.cells}
        for cell in cells.values():
            for name in filter(None, (cell.recipe.final_network, *cell.exams.networks)):
                _check_network(name, cell)
        # Splits of one folder of photos have names of their own, and loading weights takes a second.
        tuned = {
            (cell.final_backbone, len(cell.dataset.mean), cell.recipe.seen(cell.dataset.resolution))
            for cell in self.cells
            if cell.final_backbone and cell.recipe.finetune
        }
        for backbone, channels, side in tuned:
            _check_backbone(backbone, channels, side)

    def run(
        self,
        executor: Executor,
        needed: dict[str, Stage],
        on_stage: Callable[[Stage], None],
        on_cell: Callable[[Cell], None],
    ) -> dict[Cell, Exception]:
        """Make stages. Return the failed cells, each with the error that kept it from finishing.

        needed: the stages to make, by key, inputs first.
        on_stage: called after each stage.
        on_cell: called with each cell as soon as all its stages are stored. If it finds an artefact damaged
            or gone, that is made again, and it is called with the cell again.
        """
        failures: dict[Cell, Exception] = {}
        cells = list(self.graph.targets)
        for _ in range(1 + schedule.REPAIRS):
            failed, torn = self._round(cells, needed, executor, on_stage, on_cell)
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
        executor: Executor,
        on_stage: Callable[[Stage], None],
        on_cell: Callable[[Cell], None],
    ) -> tuple[dict[Cell, Exception], dict[Cell, MissingArtefactError]]:
        """Make the `needed` stages, and call `on_cell` with each of the `cells` that is finished.

        Return the failed cells, and those to try again, each with its error.
        """
        left: dict[Cell, set[str]] = {}
        cells_of: dict[str, list[Cell]] = {}
        torn: dict[Cell, MissingArtefactError] = {}

        def cell_finished(cell: Cell) -> None:
            try:
                on_cell(cell)
            except MissingArtefactError as error:
                torn[cell] = error

        def stage_finished(stage: Stage) -> None:
            on_stage(stage)
            for cell in cells_of.get(stage.key, []):
                left[cell].remove(stage.key)
                if not left[cell]:
                    cell_finished(cell)

        for cell in cells:
            left[cell] = {stage.key for stage in self.graph.lineage(cell) if stage.key in needed}
            for key in left[cell]:
                cells_of.setdefault(key, []).append(cell)
            if not left[cell]:
                cell_finished(cell)
        outcome = schedule.walk(needed, self.store, executor, self.job, stage_finished)
        errors = {cell: map(outcome.failure, self.graph.ends(cell)) for cell in cells}
        failed = {cell: next(filter(None, found), None) for cell, found in errors.items()}
        return {cell: error for cell, error in failed.items() if error is not None}, torn


def _check_backbone(backbone: Backbone, channels: int, side: int) -> None:
    from prunebench.nn import networks

    networks.on_pretrained(
        backbone.trainable(channels),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        classes=2,
        resolution=side,
        generator_seed=0,
    )


def _check_network(name: str, cell: Cell) -> None:
    from prunebench.nn import networks

    dataset = cell.dataset
    try:
        networks.build(
            name,
            channels=len(dataset.mean),
            classes=len(dataset.classes),
            resolution=cell.recipe.seen(dataset.resolution),
            generator_seed=0,
        )
    except PrunebenchError as error:
        if name in cell.exams.networks:
            expected = ", ".join(TESTS)
            raise PrunebenchError(f"exam {name!r} is none of {expected}, and as a network: {error}") from None
        raise PrunebenchError(f"recipe.final_network: {error}") from None
