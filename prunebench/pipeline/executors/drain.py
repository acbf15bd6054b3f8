"""Draining a run: a runner makes one ready stage after the other, beside others that do the same.

All it knows is the file of the run: its jobs, inputs first. Leases keep stages from being made twice.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.pipeline import jobs, schedule
from prunebench.pipeline.executors.engine import as_error
from prunebench.pipeline.executors.local import LocalExecutor
from prunebench.pipeline.executors.remote import check_code, check_run, ending
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store
from prunebench.system.files import replace_file


@dataclass(frozen=True, eq=False)
class Known:
    """A stage of which only its job is known.

    sources: what makes its inputs.
    """

    job: Job
    sources: Sequence[Known]

    @property
    def key(self) -> str:
        """The key of its result."""
        return self.job.key


def write(run: Path, all_jobs: Iterable[Job]) -> None:
    """Write the file of a run. Raise PrunebenchError if it cannot be written.

    all_jobs: the jobs of the run, those of stored stages, too, inputs first.
    """
    replace_file(run, json.dumps([vars(job) for job in all_jobs]).encode())


def read(run: Path) -> list[Known]:
    """Return the stages in the file of a run, inputs first, or [] if the run is over."""
    try:
        content = json.loads(run.read_bytes())
    except FileNotFoundError:
        return []
    known: dict[str, Known] = {}
    for fields in content:
        job = Job(**fields)
        known[job.key] = Known(job, [known[key] for _, _, key in job.inputs])
    return list(known.values())


def drain(run: Path, begin: float, stage_timeout: float | None) -> None:
    """Make what is missing of a run and nobody else makes, until nothing is left that can be made.

    run: the file of the run. The runner ends once it is gone.
    begin: where among the missing stages to begin, in 0..1. Runners that begin elsewhere meet less often.
    stage_timeout: seconds after which a stage is stopped, or None for no limit.
    """
    known = read(run)
    if not known:
        return
    store = Store(Path(known[0].job.store))
    missing = [node for node in known if node.key not in store]
    first = int(begin * len(missing))
    needed = {node.key: node for node in missing[first:] + missing[:first]}
    turns = _Turns(run, store, any(node.job.device == "cuda" for node in known), stage_timeout)
    try:
        schedule.walk(needed, store, turns, lambda node: node.job, lambda _node: None)
    finally:
        turns.shutdown()


class _Turns:
    """An executor that makes one job after the other. One job on the CPU runs beside one on the GPU.

    When its turn comes, a job may be made already, or may have failed elsewhere. Then it is passed over.
    """

    workers = 1

    def __init__(self, run: Path, store: Store, on_gpu: bool, stage_timeout: float | None) -> None:
        self._run = run
        self._store = store
        self._local = LocalExecutor(1, lambda *_: None, stage_timeout, cpu_workers=int(on_gpu))
        self._turns = {device: ThreadPoolExecutor(1) for device in ("cpu", "cuda")}

    def submit(self, job: Job) -> Future[None]:
        """Queue a job. The future raises what a LocalExecutor does, or PrunebenchError if the run is over."""
        return self._turns[job.device].submit(self._make, job)

    def _make(self, job: Job) -> None:
        check_run(str(self._run))
        if job.key in self._store:
            return
        failure = self._store.failure(job.key)
        if failure is not None:
            raise as_error(failure)
        try:
            check_code(job)
        except PrunebenchError as error:
            jobs.record(job, PrunebenchError(f"{error} (on {platform.node()})"))
            raise
        failed = ending(self._local.submit(job), str(self._run))
        if failed is not None:
            raise failed

    def shutdown(self) -> None:
        """Stop all work at once. The store stays intact."""
        for turns in self._turns.values():
            turns.shutdown(wait=False, cancel_futures=True)
        self._local.shutdown()
