"""Worker processes on this machine. A worker that dies is replaced, and its job tried once more.

On a CPU every worker computes on exactly one thread: the number of threads changes results, and one
thread more than there are cores can cost a factor of a hundred.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.pipeline import jobs
from prunebench.pipeline.executors.engine import StageError, Tell, WorkerDied, as_error
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store
from prunebench.system.isolation import ONE_THREAD, python

STARTS = 5  # how often in a row a worker may die before it is ready
OUT_OF_MEMORY = (-9, 137)  # how a process ends that the system killed, which it does for lack of memory


def default_workers(device: str) -> int:
    """Return one worker per core this process may use, or one for a GPU."""
    return (
        1
        if device == "cuda"
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


class _Room:
    """Lets jobs run side by side, or one of them alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._reserved = 0, False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Run beside others, once nobody wants to be alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run once all others are done, and before any other begins."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._reserved = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._reserved = False
                self._changed.notify_all()


class LocalExecutor:
    """`workers` processes, each making one job at a time; tell(key, done, total) hears their progress.

    stage_timeout: seconds after which a stage is stopped, or None.
    """

    def __init__(self, workers: int, tell: Tell, stage_timeout: float | None = None) -> None:
        self._tell, self._stage_timeout = tell, stage_timeout
        self._jobs: queue.SimpleQueue[tuple[Job, Future[None]] | None] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._closing = False
        self._lock = threading.Lock()  # so that no worker starts once all are being ended
        self._room = _Room()
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
        """Feed one worker: take a job, wait until it is made, say what became of it."""
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                self._make(number, job)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _make(self, number: int, job: Job) -> None:
        """Have a job made. One whose worker died is tried once more, alone where memory may have lacked."""
        try:
            with self._room.shared():
                return self._ask(number, job)
        except (WorkerDied, StageError) as error:
            if self._closing or not (isinstance(error, WorkerDied) or error.memory):
                raise
            lacking = error.memory
        try:
            with self._room.alone() if lacking else self._room.shared():
                self._ask(number, job)
        except (WorkerDied, StageError) as error:
            if self._closing or not (isinstance(error, WorkerDied) or error.memory):
                raise
            again = "twice, the second time alone" if lacking else "twice"
            advice = "; it may need more memory than there is, so try a smaller batch" if error.memory else ""
            error.args = (f"{error}, {again}{advice}",)
            _record(job, error)
            raise

    def _worker(self, number: int) -> subprocess.Popen[str]:
        """Return the living process of a thread, started anew where it is dead."""
        for _ in range(STARTS):
            with self._lock:
                if self._closing:
                    raise WorkerDied("the run is being ended")
                process = self._processes.get(number)
                if process is not None and process.poll() is None:
                    return process
                if process is not None:
                    _bury(process)
                process = self._processes[number] = _start()
            if _ready(process):
                return process
            ending = _ending(_kill(process))
        raise StageError(f"a worker process {ending} while starting, {STARTS} times in a row")

    def _ask(self, number: int, job: Job) -> None:
        """Have a worker make a job; raise what it answers, or how it ended."""
        process = self._worker(number)
        watch = _Watch(process, self._stage_timeout)
        try:
            if self._answered(process, job, watch):
                return
        except StageError as error:
            if error.memory:  # what is left of the worker may be short of it for good
                _kill(process)
            raise
        except (_Garbled, KeyError, TypeError):  # of a line that only looks like an answer, too
            _kill(process)
            _fail(job, f"{jobs.who(job)} wrote into the channel on which its worker answers")
        finally:
            watch.end()
        code = process.wait()
        if watch.barked:
            _fail(
                job,
                f"{jobs.who(job)} ran for more than {self._stage_timeout:g} s and was stopped; "
                "raise --stage-timeout, or leave its methods out",
            )
        raise WorkerDied(
            f"a worker process {_ending(code)} while making {job.title} ({jobs.who(job)})",
            memory=code in OUT_OF_MEMORY,
        )

    def _answered(self, process: subprocess.Popen[str], job: Job, watch: _Watch) -> bool:
        """Give a worker a job, and listen until it is made; False where the worker ends before."""
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            answer = _read(line)
            if "begun" in answer:
                watch.begin()
            elif "progress" in answer:
                self._tell(job.key, *answer["progress"])
            elif "failure" in answer:
                raise as_error(answer["failure"])
            elif "done" in answer and job.key in Store(Path(job.store)):
                return True
            else:
                raise _Garbled
        return False


class _Garbled(Exception):  # noqa: N818 - it says what happened
    """A line that no worker writes."""


class _Watch:
    """Kills a process some seconds after its stage began."""

    def __init__(self, process: subprocess.Popen[str], seconds: float | None) -> None:
        self._process, self.barked = process, False
        self._timer = None if seconds is None else threading.Timer(seconds, self._bark)

    def _bark(self) -> None:
        self.barked = True
        self._process.kill()

    def begin(self) -> None:
        """Start to count, unless nobody limits the time."""
        if self._timer is not None and not self._timer.is_alive():
            self._timer.start()

    def end(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()


def _kill(process: subprocess.Popen[str]) -> int:
    """End a process, unless it has ended already; return its code."""
    process.kill()
    return process.wait()


def _start() -> subprocess.Popen[str]:
    """Start a worker: the code that runs here, and the plugins that could be loaded here."""
    healthy = {p.distribution for p in registry.load().plugins if p.used and not p.error}
    return subprocess.Popen(
        python("from prunebench.pipeline.executors.worker import main; main()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **ONE_THREAD, "PRUNEBENCH_PLUGINS": ",".join(sorted(healthy))},
    )


def _ready(process: subprocess.Popen[str]) -> bool:
    """Wait until a worker can take jobs; False where it ends before. What it says meanwhile is not ours."""
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(_Garbled):
            if _read(line).get("ready") is True:
                return True
        sys.stderr.write(line)
    return False


def _read(line: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        raise _Garbled from None
    if not isinstance(answer, dict):
        raise _Garbled
    return answer


def _ending(code: int) -> str:
    """Say how a process ended."""
    try:
        name = f" ({signal.Signals(-code).name})" if code < 0 else ""
    except ValueError:
        name = ""
    return f"ended with code {code}{name}"


def _fail(job: Job, message: str) -> None:
    """Raise StageError for a job, once it is recorded."""
    error = StageError(message)
    _record(job, error)
    raise error from None


def _record(job: Job, error: Exception) -> None:
    """Record a failure that no worker lived to record."""
    record = {"title": job.title, "kind": job.kind, **jobs.failure(PrunebenchError(str(error)))}
    Store(Path(job.store)).fail(job.key, record)


def _bury(process: subprocess.Popen[str]) -> None:
    """Close the pipes of a dead process and wait for it."""
    with suppress(BrokenPipeError), process:  # what it was still being told is lost with it
        pass
