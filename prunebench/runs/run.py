"""Running a matrix: an executor, live progress, one line and one row per finished cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.pipeline import schedule
from prunebench.pipeline.executors.engine import Engine, Executor, StageError, WorkerDied
from prunebench.pipeline.executors.factory import executor
from prunebench.pipeline.executors.local import default_workers
from prunebench.pipeline.forecast import Forecast
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.results import record
from prunebench.results.rows import Journal
from prunebench.runs.progress import Live, cell_line
from prunebench.suites.cells import Cell
from prunebench.system.files import check_folder
from prunebench.system.signals import interruptible

ENGINE = Engine()


def get_ready(matrix: Matrix, folder: Path | None = None) -> None:
    """Fetch the data of a matrix; first see that its rows can be written under `folder`, if there is one.

    Raise PrunebenchError where they cannot, where the device will not do, or where data cannot be had.
    """
    matrix.check_device()
    if folder is not None:
        rows = {folder / "results" / cell.suite / cell.dataset.name for cell in matrix.cells}
        for written in (folder, folder / "results", *rows):
            check_folder(written, "--results")
    matrix.fetch()


def run_matrix(
    matrix: Matrix, forecast: Forecast, folder: Path | None, engine: Engine = ENGINE
) -> dict[str, str]:
    """Run what is missing of a matrix and append a row per cell under `folder`, if there is one.

    Return the cells that failed, by name, each with why. Raise PrunebenchError before anything is made
    where a part lacks a file, KeyboardInterrupt after an orderly stop.
    """
    with _work(matrix, matrix.missing(), forecast, engine) as work:
        place = 0
        journal = Journal(folder) if folder is not None else None

        def cell_done(cell: Cell) -> None:
            nonlocal place
            row = record.row(matrix, cell)
            place += 1
            if journal is not None:
                journal.append(row)
            work.live.line(cell_line(cell, row, place, len(matrix.cells), row.accuracy_key in work.made))

        failures = matrix.run(work.executor, work.needed, work.stage_made, cell_done)
    why = {cell: explained(error) for cell, error in failures.items()}
    if journal is not None:
        for cell, reason in why.items():
            journal.append(record.failure(matrix, cell, reason))
    return {cell.name: reason for cell, reason in why.items()}


def make_labels(matrix: Matrix, forecast: Forecast, engine: Engine = ENGINE) -> dict[str, str]:
    """Make what is missing of the labels of a matrix and of their quality, and nothing else.

    Return what failed, by dataset and labeler, each with why. Raise as `run_matrix` does.
    """
    ends = {stage.key: stage for stage in matrix.graph.qualities.values() if stage is not None}
    failures = make_stages(matrix, ends, forecast, engine)
    return {f"{ends[key].dataset.name} {ends[key].sources[0].title}": why for key, why in failures.items()}


def make_stages(
    matrix: Matrix, ends: Mapping[str, Stage], forecast: Forecast, engine: Engine = ENGINE
) -> dict[str, str]:
    """Make what is missing of some stages of a matrix, given by key, and of all they need.

    Return why those that failed did, by key. Raise as `run_matrix` does.
    """
    needed = schedule.missing(ends.values(), matrix.store)
    with _work(matrix, needed, forecast, engine) as work:
        outcome = schedule.walk(needed, matrix.store, work.executor, matrix.job, work.stage_made)
    failures = {key: outcome.failure(stage) for key, stage in ends.items()}
    return {key: explained(error) for key, error in failures.items() if error is not None}


@dataclass
class _Work:
    """A walk under way: the engine at work, what it is to make, what it made, and what is shown of it."""

    matrix: Matrix
    needed: dict[str, Stage]
    executor: Executor
    live: Live
    made: set[str] = field(default_factory=set)

    def stage_made(self, stage: Stage) -> None:
        self.made.add(stage.key)
        with suppress(MissingArtefactError):  # gone already; whoever reads it has it made again
            self.live.made(stage, self.matrix.store.manifest(stage.key)["seconds"])


@contextmanager
def _work(matrix: Matrix, needed: dict[str, Stage], forecast: Forecast, engine: Engine) -> Iterator[_Work]:
    """Start an engine and show its progress; in the end stop it and leave no litter in the store.

    Raise PrunebenchError, before anything starts, where the store cannot be written or a part lacks a file.
    """
    if needed:
        check_folder(matrix.store.root, "--store")
    matrix.check_parts(needed)
    most = default_workers(matrix.device) if engine.workers is None else engine.workers
    count = min(max(1, len(needed)), most)  # one at least, for what turns out to be damaged
    live = Live(needed.values(), forecast, count)
    work = _Work(matrix, needed, executor(engine, count, live.tell), live)
    try:
        with interruptible(), live:
            yield work
    finally:
        work.executor.shutdown()
        matrix.store.sweep(needed.keys() - work.made)


def explained(error: Exception) -> str:
    """Return one line about a failure, the last of its traceback included where it was not expected."""
    return str(error) if isinstance(error, PrunebenchError | StageError | WorkerDied) else repr(error)
