"""The registry of executors."""

from __future__ import annotations

from collections.abc import Callable

from prunebench.errors import PrunebenchError, unknown
from prunebench.pipeline.executors.engine import Engine, Executor, OnProgress
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.executors.local import LocalExecutor
from prunebench.pipeline.executors.packing import Packing

Factory = Callable[[Engine, int, OnProgress], Executor]


def local(engine: Engine, workers: int, on_progress: OnProgress) -> Executor:
    """Return an executor with worker processes on this machine, or in this process if `workers` is 0.

    Raise PrunebenchError for a time limit without worker processes.
    """
    if workers:
        packing = Packing(workers) if engine.workers_per_gpu == "auto" else None
        return LocalExecutor(workers, on_progress, engine.stage_timeout, engine.cpu_workers or 0, packing)
    if engine.stage_timeout is not None and engine.workers == 0:
        raise PrunebenchError(
            "--stage-timeout stops worker processes, and --workers 0 has none; use --workers 1 or more"
        )
    return InlineExecutor(on_progress)


EXECUTORS: dict[str, Factory] = {"local": local}


def executor(engine: Engine, workers: int, on_progress: OnProgress) -> Executor:
    """Return the executor of an engine, with a number of workers.

    on_progress: called when a job begins, and with its progress.

    Raise PrunebenchError if there is no executor with that name, or if the time limit is not positive.
    """
    if engine.name not in EXECUTORS:
        raise unknown("executor", engine.name, [*EXECUTORS], "docs/architecture.md")
    if engine.stage_timeout is not None and engine.stage_timeout <= 0:
        raise PrunebenchError(f"--stage-timeout {engine.stage_timeout:g}: expected seconds, above 0")
    return EXECUTORS[engine.name](engine, workers, on_progress)
