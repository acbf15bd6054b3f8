"""Running a matrix: an executor, live progress, one line and one row per finished cell."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunebench import results
from prunebench.display import Live, cell_line
from prunebench.errors import PrunebenchError
from prunebench.executors import local
from prunebench.forecast import Forecast
from prunebench.matrix import Matrix
from prunebench.results import Result
from prunebench.stages import Stage
from prunebench.suite import Cell


def run_matrix(
    matrix: Matrix, forecast: Forecast, folder: Path, engine: str = "local", workers: int | None = None
) -> dict[str, str]:
    """Run what is missing of a matrix and append a row per cell under `folder`.

    Return the cells that failed, by name, each with why. Raise KeyboardInterrupt after an orderly stop.
    """
    needed = matrix.missing()
    count = min(len(needed), local.default_workers(matrix.device) if workers is None else workers)
    made: set[str] = set()
    place = 0
    with Live(needed.values(), forecast, count) as live:

        def stage_made(stage: Stage) -> None:
            made.add(stage.key)
            live.made(stage, matrix.store.manifest(stage.key)["seconds"])

        def cell_done(cell: Cell, row: Result) -> None:
            nonlocal place
            place += 1
            results.append(folder, row)
            live.line(cell_line(cell, row, place, len(matrix.cells), row.accuracy_key in made))

        engine_at_work = local.executor(engine, count, live.tell)
        try:
            with interruptible():
                failures = matrix.run(engine_at_work, needed, stage_made, cell_done)
        finally:
            engine_at_work.shutdown()
            for key in needed:
                if key not in made:
                    matrix.store.sweep(key)
    return {cell.name: explained(error) for cell, error in failures.items()}


def explained(error: Exception) -> str:
    """Return one line about a failure, the last of its traceback included where it was not expected."""
    return (
        str(error)
        if isinstance(error, PrunebenchError | local.StageError | local.WorkerDied)
        else repr(error)
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a polite end (SIGTERM, as batch systems send it) stop a run just as Ctrl-C does."""

    def stop(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
