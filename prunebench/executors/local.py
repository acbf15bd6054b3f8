"""Worker processes on this machine. A worker that dies is replaced, and its job tried once more.

On a CPU every worker computes on exactly one thread: the number of threads changes results, and one
thread more than there are cores can cost a factor of a hundred.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict

from prunebench.errors import BusyError, MissingArtefactError, PrunebenchError
from prunebench.jobs import failure
from prunebench.stages import Job

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Idle threads sleep rather than spin, which matters as soon as cores are shared.
    "OMP_WAIT_POLICY": "PASSIVE",
}
Tell = Callable[[str, int, int], None]


class StageError(Exception):
    """A stage failed in a worker; the message is for the user, the traceback for an author."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


class WorkerDied(Exception):  # noqa: N818 - it says what happened
    """A worker process ended without an answer, twice for the same job."""


def default_workers(device: str) -> int:
    """Return one worker per core this process may use, or one for a GPU."""
    return (
        1
        if device == "cuda"
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


class LocalExecutor:
    """`workers` processes, each making one job at a time; tell(key, done, total) hears their progress."""

    def __init__(self, workers: int, tell: Tell) -> None:
        self._tell = tell
        self._jobs: queue.SimpleQueue[tuple[Job, Future[None]] | None] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._closing = False
        self._lock = threading.Lock()  # so that no worker starts once all are being ended
        self._threads = [threading.Thread(target=self._serve, args=(n,), daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> Future[None]:
        """Queue a job. The future raises StageError, MissingArtefactError, BusyError or WorkerDied."""
        future: Future[None] = Future()
        self._jobs.put((job, future))
        return future

    def shutdown(self) -> None:
        """End all workers at once, whatever they are doing; the store loses nothing by it."""
        with self._lock:
            self._closing = True
        for process in self._processes.values():
            process.kill()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=5)
        for process in self._processes.values():
            _bury(process)

    def _serve(self, number: int) -> None:
        """Feed one worker: take a job, wait for its answer, replace the process when it dies."""
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                for attempt in (1, 2):
                    try:
                        self._ask(number, job)
                        break
                    except WorkerDied:
                        if attempt == 2 or self._closing:
                            raise
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _worker(self, number: int) -> subprocess.Popen[str]:
        """Return the living process of a thread, started anew where it is dead."""
        with self._lock:
            if self._closing:
                raise WorkerDied("the run is being ended")
            process = self._processes.get(number)
            if process is not None and process.poll() is None:
                return process
            if process is not None:
                _bury(process)
            self._processes[number] = self._start()
            return self._processes[number]

    def _ask(self, number: int, job: Job) -> None:
        process = self._worker(number)
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDied(f"a worker process ended before it could start on {job.title}") from None
        for line in process.stdout:
            answer = json.loads(line)
            if "progress" in answer:
                self._tell(job.key, *answer["progress"])
            elif "failure" in answer:
                raise as_error(answer["failure"])
            else:
                return
        code = process.wait()
        raise WorkerDied(
            f"a worker process ended with code {code} while making {job.title}, twice"
            + (" (killed, perhaps for lack of memory: try fewer --workers)" if code == -9 else "")
        )

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "prunebench.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )


def _bury(process: subprocess.Popen[str]) -> None:
    """Close the pipes of a dead process and wait for it."""
    with suppress(BrokenPipeError), process:  # what it was still being told is lost with it
        pass


class InlineExecutor:
    """Makes each job in this process, on one thread, when it is submitted."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def submit(self, job: Job) -> Future[None]:
        """Make a job now and return a finished future."""
        import torch

        from prunebench import jobs

        future: Future[None] = Future()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            jobs.run(job, lambda done, total: self._tell(job.key, done, total))
        except Exception as error:
            future.set_exception(as_error(failure(error)))
        else:
            future.set_result(None)
        finally:
            torch.set_num_threads(threads)
        return future

    def shutdown(self) -> None:
        """Nothing to end."""


def as_error(told: dict[str, str]) -> Exception:
    """Turn a failure, as `worker.failure` described it, back into an error."""
    if told["missing"]:
        return MissingArtefactError(told["missing"])
    if told["busy"]:
        return BusyError(told["busy"])
    return StageError(told["message"], told["traceback"])


def executor(name: str, workers: int, tell: Tell) -> LocalExecutor | InlineExecutor:
    """Return the executor of a name; 0 local workers means this very process."""
    if name != "local":
        raise PrunebenchError(f"no executor named {name!r}. Known: local")
    return LocalExecutor(workers, tell) if workers else InlineExecutor(tell)
