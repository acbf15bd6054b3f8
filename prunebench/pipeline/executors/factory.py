"""Executors by name: ours, those of plugins, and any factory in a module."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from concurrent import futures
from typing import Any

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts import registry
from prunebench.pipeline.executors import gpus
from prunebench.pipeline.executors.dask import dask
from prunebench.pipeline.executors.engine import Engine, Executor, OnProgress, with_class
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.executors.local import LocalExecutor
from prunebench.pipeline.executors.pool import Pool
from prunebench.pipeline.executors.ray import ray
from prunebench.pipeline.executors.slurm import slurm

Factory = Callable[[Engine, int, OnProgress], Executor | futures.Executor]


def local(engine: Engine, workers: int, on_progress: OnProgress) -> Executor:
    """Return an executor with worker processes on this machine, or in this process if `workers` is 0.

    Raise PrunebenchError for a time limit, or a GPU but the first, without worker processes.
    """
    engine.check_options()
    if workers:
        packed = engine.workers_per_gpu == "auto"
        return LocalExecutor(
            workers,
            on_progress,
            engine.stage_timeout,
            engine.cpu_workers or 0,
            packed,
            engine.gpus,
            engine.processes,
        )
    if engine.stage_timeout is not None and engine.workers == 0:
        raise PrunebenchError(
            "--stage-timeout stops worker processes, and --workers 0 has none; use --workers 1 or more"
        )
    if engine.gpus and engine.gpus[0] != gpus.visible()[0]:
        raise PrunebenchError("--workers 0 computes on the first GPU alone; use --workers 1 for another")
    return InlineExecutor(on_progress)


EXECUTORS: dict[str, Factory] = {"local": local, "dask": dask, "ray": ray, "slurm": slurm}


def check(engine: Engine) -> None:
    """Raise PrunebenchError if there is no executor with the name, or if the options ask too much."""
    _factory(engine.name)
    if engine.processes > 1 and (engine.name != "local" or engine.workers == 0):
        raise PrunebenchError(
            f"--processes-per-training {engine.processes} needs worker processes of --executor local; "
            "leave it out, or --executor and --workers"
        )
    if engine.stage_timeout is not None and engine.stage_timeout <= 0:
        raise PrunebenchError(f"--stage-timeout {engine.stage_timeout:g}: expected seconds, above 0")


def executor(engine: Engine, workers: int, on_progress: OnProgress) -> Executor:
    """Return the executor of an engine, with a number of workers.

    on_progress: called when a job begins, and with its progress.

    Raise PrunebenchError as `check` does, or if the executor cannot be made.
    """
    check(engine)
    factory = _factory(engine.name)
    try:
        made = _made(factory, engine, workers, on_progress)
    except PrunebenchError:
        raise
    except Exception as error:  # a factory may be a stranger's
        why = with_class(error)
        raise PrunebenchError(f"--executor {engine.name} cannot be started: {why}") from error
    if isinstance(made, futures.Executor):
        return Pool(engine, max(1, workers), {"cpu": made, "cuda": made})
    if not all(hasattr(made, name) for name in ("submit", "shutdown", "workers")):
        raise PrunebenchError(
            f"--executor {engine.name} made {type(made).__name__}, expected submit, shutdown and workers; "
            "see docs/scale.md"
        )
    return made  # type: ignore[no-any-return]


def _made(factory: Any, engine: Engine, workers: int, on_progress: OnProgress) -> Any:
    """Call a factory. A class of executors is called with the number of workers alone."""
    if isinstance(factory, type) and issubclass(factory, futures.Executor):
        engine.check_options()
        engine.check_whole_gpus()
        return factory(max(1, workers))  # type: ignore[call-arg]
    return factory(engine, workers, on_progress)


def _factory(name: str) -> Any:
    """Return the factory that NAME or MODULE:FACTORY names. Raise PrunebenchError if there is none."""
    module, colon, attribute = name.partition(":")
    if not colon:
        of_plugins = registry.load().executors
        if name in EXECUTORS and name in of_plugins:
            raise PrunebenchError(
                f"executor {name!r} is offered by prunebench and by {of_plugins[name][0]}; uninstall that"
            )
        known = EXECUTORS | {found: factory for found, (_, factory) in of_plugins.items()}
        if name not in known:
            raise unknown("executor", name, known, "docs/scale.md")
        return known[name]
    if not re.fullmatch(r"[\w.]+:[\w.]+", name):
        raise PrunebenchError(f"--executor {name!r}: expected NAME or MODULE:FACTORY")
    try:
        found: Any = importlib.import_module(module)
        for word in attribute.split("."):
            found = getattr(found, word)
    except Exception as error:
        raise PrunebenchError(f"--executor {name}: there is no such factory ({with_class(error)})") from None
    return found
