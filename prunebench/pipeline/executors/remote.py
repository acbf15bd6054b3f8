"""The other end of an executor: a job arrives in some process, and a worker of its machine makes it.

Each call has a worker process for itself. So a call may come from any thread, and whatever a part does to its
process harms neither other calls nor the process that a cluster gave us. Workers at rest serve later calls.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Waiting
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.identity import identity
from prunebench.pipeline import jobs
from prunebench.pipeline.executors import gpus
from prunebench.pipeline.executors.engine import as_failure
from prunebench.pipeline.executors.local import LocalExecutor
from prunebench.pipeline.job import Job

REST = 60.0  # seconds after which a worker without a job ends
LOOK = 1.0  # seconds between two looks whether the run still goes on

Kind = tuple[str | None, str | None, float | None]  # CUDA_VISIBLE_DEVICES, the GPU of the worker, its limit


def run_job(job: dict[str, Any], run: str, stage_timeout: float | None) -> dict[str, Any] | None:
    """Make the stage of a job in a worker process of this machine. Return its failure as JSON, or None.

    Arguments and answer are plain values, so that any executor can carry them. Nothing is raised.

    job: the fields of a `Job`.
    run: a file that is there as long as the run goes on. The stage is given up once it is gone.
    stage_timeout: seconds after which the stage is stopped, or None for no limit.
    """
    try:
        made = Job(**job)
        check_run(run)
        check_code(made)
        with _WORKERS.borrowed(made.device, stage_timeout) as worker:
            error = ending(worker.submit(made), run)
    except Exception as problem:
        error = problem
    if error is None:
        return None
    failure = as_failure(error)
    return failure | {"message": f"{failure['message']} (on {platform.node()})"}


def ending(future: Future[None], run: str) -> BaseException | None:
    """Wait for the end of a stage. Return its error, or None. Raise PrunebenchError once the run is over."""
    while True:
        try:
            return future.exception(LOOK)
        except Waiting:
            check_run(run)


def check_run(run: str) -> None:
    """Raise PrunebenchError if the run is over, or this machine does not see its store."""
    if not Path(run).exists():
        raise PrunebenchError(
            f"{run} is not there: the run is over, or this machine does not see the same --store"
        )


def check_code(job: Job) -> None:
    """Raise PrunebenchError if the code of this machine would give the result of a job another key."""
    loaded = registry.load()
    part = job.identity.get("part")
    same_part = part is None or identity(loaded.rebuild(part)) == part
    if not same_part or jobs.stage_of(job, loaded.dataset(job.dataset)).key != job.key:
        raise PrunebenchError(
            f"{jobs.who(job)} is not the one that the run knows; "
            "install the same prunebench, torch and plugins on all machines"
        )


class _Workers:
    """The worker processes of this process: busy ones, and ones at rest."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Have no workers, as in a forked process, which has none of the threads that serve them."""
        self._lock = threading.Lock()
        self._resting: list[tuple[Kind, LocalExecutor, threading.Timer]] = []
        self._gpus_taken: list[str] = []

    @contextmanager
    def borrowed(self, device: str, stage_timeout: float | None) -> Iterator[LocalExecutor]:
        """Have a worker process for one job. It ends with an error, such as that the run is over."""
        with self._gpu(device) as gpu:
            kind = (os.environ.get("CUDA_VISIBLE_DEVICES"), gpu, stage_timeout)
            worker = self._take(kind)
            try:
                yield worker
            except BaseException:
                worker.shutdown()
                raise
            self._rest(kind, worker)

    @contextmanager
    def _gpu(self, device: str) -> Iterator[str | None]:
        """Take a GPU that as few jobs as possible have. None for a job that needs none."""
        if device == "cpu":
            yield None
            return
        with self._lock:
            seen = gpus.visible()
            if not seen:
                raise PrunebenchError("the job needs a GPU, and this process sees none")
            gpu = min(seen, key=self._gpus_taken.count)
            self._gpus_taken.append(gpu)
        try:
            yield gpu
        finally:
            with self._lock:
                self._gpus_taken.remove(gpu)

    def _take(self, kind: Kind) -> LocalExecutor:
        """Return a worker of a kind: one at rest, or a new one. End those at rest that see other GPUs."""
        with self._lock:
            same = [resting for resting in self._resting if resting[0] == kind]
            others = [resting for resting in self._resting if resting[0][0] != kind[0]]
            gone = [*same[:1], *others]
            self._resting = [resting for resting in self._resting if resting not in gone]
        for _, _, timer in gone:
            timer.cancel()
        for _, worker, _ in others:
            worker.shutdown()
        if same:
            return same[0][1]
        return LocalExecutor(1, lambda *_: None, kind[2], gpus=() if kind[1] is None else (kind[1],))

    def _rest(self, kind: Kind, worker: LocalExecutor) -> None:
        """Keep a worker for the next job, but not for long."""
        timer = threading.Timer(REST, self._end, [worker])
        timer.daemon = True
        with self._lock:
            self._resting.append((kind, worker, timer))
        timer.start()

    def _end(self, worker: LocalExecutor) -> None:
        """End a worker if it still rests."""
        with self._lock:
            ended = [resting for resting in self._resting if resting[1] is worker]
            self._resting = [resting for resting in self._resting if resting[1] is not worker]
        if ended:
            worker.shutdown()


_WORKERS = _Workers()
os.register_at_fork(after_in_child=_WORKERS.forget)
