"""Jobs on Slurm, through submitit: one job of Slurm for each stage."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors.engine import Engine, OnProgress
from prunebench.pipeline.executors.pool import Pool

LOOK = 0.5  # seconds between two looks for answers
MINUTES = 24 * 60  # the time limit of a job, unless the user names another


class _Jobs(futures.Executor):
    """An executor of submitit's jobs. A thread looks for their answers.

    submitting: submitit's executor.
    most: the most jobs that are submitted at once. None: all.
    """

    def __init__(self, submitting: Any, most: int | None) -> None:
        self._submitting = submitting
        self._most = most
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._jobs: dict[Future[Any], Any] = {}
        self._changed = threading.Condition()
        self._over = False
        threading.Thread(target=self._look, daemon=True).start()

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        """Submit a job."""
        future: Future[Any] = Future()
        with self._changed:
            self._waiting.append((future, partial(self._submitting.submit, function, *arguments, **named)))
            self._submit_next()
            self._changed.notify_all()
        return future

    def _submit_next(self) -> None:
        """Submit what waits, as far as there is room."""
        while self._waiting and (self._most is None or len(self._jobs) < self._most):
            future, submitted = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    self._jobs[future] = submitted()
                except Exception as error:  # Slurm may refuse
                    future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel all jobs, those under way as well."""
        with self._changed:
            self._over = True
            for job in self._jobs.values():
                job.cancel(check=False)
            self._changed.notify_all()

    def _look(self) -> None:
        """Resolve the futures of jobs that are done."""
        while not self._over:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._over)
                self._changed.wait_for(lambda: self._over, timeout=LOOK)
                done = [future for future, job in self._jobs.items() if not self._over and job.done()]
                ended = [(future, self._jobs.pop(future)) for future in done]
                if not self._over:
                    self._submit_next()
            for future, job in ended:
                _resolve(future, job)


def _resolve(future: Future[Any], job: Any) -> None:
    """Resolve the future of a job. The log of a job stays only if the job was lost."""
    try:
        answer = job.result()
    except Exception as error:
        future.set_exception(error)
        return
    for path in job.paths.folder.glob(f"{job.job_id}*"):
        path.unlink(missing_ok=True)
    future.set_result(answer)


def slurm(engine: Engine, workers: int, _on_progress: OnProgress) -> Pool:
    """Return an executor that submits each job to Slurm.

    The options are parameters of submitit's AutoExecutor, such as slurm_partition and timeout_min. `cluster`
    may be `local`, which runs jobs as processes of this machine. What submitit writes is in a folder of the
    run, in the folder `slurm` of the store.

    Raise PrunebenchError if submitit is missing, there is no Slurm, or a parameter is unknown.
    """
    engine.check_whole_gpus()
    submitit = engine.package("submitit", "slurm")
    options = dict(engine.options)
    cluster = options.pop("cluster", "slurm")
    most = workers if cluster == "local" else engine.workers or None  # Slurm has a queue of its own
    folder = engine.store / "slurm" / uuid.uuid4().hex  # of this run: numbers of local jobs come again
    on_gpu = {"gpus_per_node": "1"} | options
    try:
        carriers = {"cpu": _Jobs(_submitting(submitit, cluster, folder, options), most)}
        if engine.device == "cuda":
            carriers["cuda"] = _Jobs(_submitting(submitit, cluster, folder, on_gpu), most)
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        raise PrunebenchError(f"--executor slurm: {str(error).splitlines()[0]} See docs/scale.md") from None
    return Pool(engine, max(1, workers), carriers)


def _submitting(submitit: Any, cluster: str, folder: Path, options: dict[str, str]) -> Any:
    """Return submitit's executor. Whole numbers among the options become numbers."""
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    values = {name: int(value) if value.isdecimal() else value for name, value in options.items()}
    defaults = {"name": "prunebench", "timeout_min": MINUTES, "tasks_per_node": 1, "cpus_per_task": 1}
    executor.update_parameters(**defaults | values)
    return executor
