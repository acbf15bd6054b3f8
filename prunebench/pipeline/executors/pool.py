"""Running jobs through any executor of `concurrent.futures`: threads, processes, MPI, Dask and others."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.pipeline import jobs
from prunebench.pipeline.executors.engine import Engine, WorkerDied, as_error, with_class
from prunebench.pipeline.executors.remote import run_job
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store
from prunebench.system import leases
from prunebench.system.files import writing

TRIES = 2  # of a job whose process is lost
GRACE = 10.0  # seconds for jobs under way to be given up, so that no process of theirs outlives the run
LOOK = 0.2  # seconds between two looks for a result that another machine wrote

Carriers = Mapping[str, futures.Executor]  # by what a job needs: "cpu" or "cuda"
Answer = Future[dict[str, Any] | None]


class Pool:
    """An executor that has others carry its jobs to where `run_job` makes them.

    engine: the options of the user.
    workers: how many jobs run at once.
    carriers: what carries the jobs.
    end: called after the shutdown of the carriers, such as to leave a cluster.
    shares_gpu: whether a job may have others beside it on its GPU.
    """

    def __init__(
        self,
        engine: Engine,
        workers: int,
        carriers: Carriers,
        end: Callable[[], None] = lambda: None,
        *,
        shares_gpu: bool = False,
    ) -> None:
        self.workers = workers
        self._engine = engine
        self._carriers = carriers
        self._end = end
        self._shares_gpu = shares_gpu
        self._carried: set[Answer] = set()
        self._run = engine.store / "runs" / uuid.uuid4().hex
        with writing(self._run):
            self._run.parent.mkdir(parents=True, exist_ok=True)
            self._run.touch()

    def submit(self, job: Job) -> Future[None]:
        """Have a job carried. The future raises StageError, MissingArtefactError, BusyError or WorkerDied."""
        future: Future[None] = Future()
        shares_gpu = self._shares_gpu and job.device == "cuda"
        self._carry(replace(job, shares_gpu=shares_gpu), future, TRIES)
        return future

    def shutdown(self) -> None:
        """Take back the jobs that wait. Those under way are given up within a second or two."""
        self._run.unlink(missing_ok=True)
        for answer in list(self._carried):
            answer.cancel()
        carriers = self._carriers.values()
        ending = [threading.Thread(target=_leave, args=(carrier,), daemon=True) for carrier in carriers]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join(GRACE)
        self._end()

    def _carry(self, job: Job, future: Future[None], tries: int) -> None:
        try:
            answer: Answer = self._carriers[job.device].submit(
                run_job, asdict(job), str(self._run), self._engine.stage_timeout
            )
        except Exception as error:
            self._lose(job, future, error)
            return
        self._carried.add(answer)
        answer.add_done_callback(lambda done: self._settle(job, future, done, tries - 1))

    def _settle(self, job: Job, future: Future[None], answer: Answer, tries: int) -> None:
        """Resolve the future of a job by the answer. If there is none, have the job carried again."""
        self._carried.discard(answer)
        try:
            failure = answer.result()
        except BaseException as error:  # whatever ended it, somebody waits for the future
            if tries and self._run.exists():
                self._carry(job, future, tries)
            else:
                self._lose(job, future, error)
            return
        if failure is not None:
            future.set_exception(as_error(failure))
        elif job.key in Store(Path(job.store)):
            future.set_result(None)
        else:
            threading.Thread(target=self._await, args=(job, future), daemon=True).start()

    def _await(self, job: Job, future: Future[None]) -> None:
        """Wait until this machine sees the result. A disk of the network may show it later."""
        end = time.monotonic() + leases.seconds()
        while job.key not in Store(Path(job.store)):
            if time.monotonic() > end:
                gone = PrunebenchError(f"its result is not in {job.store}, as this machine sees it")
                self._lose(job, future, gone)
                return
            time.sleep(LOOK)
        future.set_result(None)

    def _lose(self, job: Job, future: Future[None], error: BaseException) -> None:
        """Resolve the future of a job that got lost on its way, and record that unless the run is over."""
        lost = WorkerDied(f"--executor {self._engine.name} lost {job.kind} {job.title}: {with_class(error)}")
        if self._run.exists():
            with suppress(PrunebenchError):
                jobs.record(job, lost)
        future.set_exception(lost)


def _leave(carrier: futures.Executor) -> None:
    """Shut a carrier down, whatever state its cluster is in."""
    with suppress(Exception):
        carrier.shutdown(wait=True)
