"""A worker process, as its runner sees it: its start, the channel to it and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from prunebench.parts import registry
from prunebench.pipeline import jobs
from prunebench.pipeline.executors.engine import WorkerDied, as_error
from prunebench.pipeline.executors.worker import PARTED
from prunebench.pipeline.job import Job
from prunebench.system.isolation import ONE_THREAD, python

GRACE = 10.0  # seconds for the first process of a job to tell an error that another one has, too
OUT_OF_MEMORY = (-9, 137)  # exit codes of a process that the system killed, usually as memory ran out

Process = subprocess.Popen[str]


class Garbled(Exception):  # noqa: N818 - the name is a sentence
    """A line in the channel that no worker wrote."""


def start(environment: Mapping[str, str]) -> Process:
    """Start a worker with the code of this process, and with the plugins that this process could load.

    environment: variables that it has beside those of this process.
    """
    healthy = {p.distribution for p in registry.load().plugins if p.used and not p.error}
    return subprocess.Popen(
        python("from prunebench.pipeline.executors.worker import main; main()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **ONE_THREAD, **environment, "PRUNEBENCH_PLUGINS": ",".join(sorted(healthy))},
    )


def ready(process: Process) -> bool:
    """Wait until a worker can take jobs. Return False if it ends first.

    Other output, such as warnings of libraries, is passed on to standard error.
    """
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(Garbled):
            if read(line).get("ready") is True:
                return True
        sys.stderr.write(line)
    return False


def send(process: Process, job: Job) -> None:
    """Send a job to a worker, unless it has ended."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(job)) + "\n")
        process.stdin.flush()


def read(line: str) -> dict[str, Any]:
    """Return an answer of a worker. Raise Garbled if the line is none."""
    try:
        answer = json.loads(line)
    except ValueError:
        raise Garbled from None
    if not isinstance(answer, dict):
        raise Garbled
    return answer


def kill(process: Process) -> int:
    """Kill a process, unless it has ended already. Return its exit code."""
    process.kill()
    return process.wait()


def reap(process: Process) -> None:
    """Close the pipes of a dead process and wait for it."""
    with suppress(BrokenPipeError), process:  # closing flushes input that it can no longer read
        pass


def ending(code: int) -> str:
    """Return how a process ended, such as: ended with code -9 (SIGKILL)."""
    try:
        name = f" ({signal.Signals(-code).name})" if code < 0 else ""
    except ValueError:
        name = ""
    return f"ended with code {code}{name}"


def died(code: int, job: Job) -> WorkerDied:
    """Return the error for a worker process that ended with a code."""
    return WorkerDied(
        f"a worker process {ending(code)} while making {job.title} ({jobs.who(job)})",
        memory=code in OUT_OF_MEMORY,
    )


class TimeLimit:
    """Kills a process whose stage takes too long.

    seconds: the time limit, or None for no limit.
    exceeded: whether it killed the process.
    """

    def __init__(self, process: Process, seconds: float | None) -> None:
        self._process = process
        self.exceeded = False
        self._timer = None if seconds is None else threading.Timer(seconds, self._stop)

    def _stop(self) -> None:
        self.exceeded = True
        self._process.kill()

    def begin(self) -> None:
        """Start the timer, if there is a time limit."""
        if self._timer is not None and not self._timer.is_alive():
            self._timer.start()

    def end(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


class Helpers:
    """The processes of a job beside the first: workers that end with it. There may be none.

    If one dies or fails alone, the first is killed, as it would wait for that one forever.

    process: the first process.
    environments: the variables of each of the others.
    first_job: the job for the first process.
    error: that of the one that died or failed alone, or None.
    """

    def __init__(self, process: Process, job: Job, environments: Sequence[Mapping[str, str]]) -> None:
        self.error: Exception | None = None
        self.first_job = job
        self._first = process
        self._over = threading.Event()
        self._told = threading.Event()
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True) if environments else None
        if self._folder:
            self.first_job = replace(job, meeting=f"{self._folder.name}/meeting")
        self._processes = [start(environment) for environment in environments]
        self._threads = [
            threading.Thread(target=self._serve, args=(one, replace(self.first_job, rank=rank)), daemon=True)
            for rank, one in enumerate(self._processes, 1)
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, process: Process, job: Job) -> None:
        """Have a process run its job. Note its error, or its end."""
        assert process.stdout is not None
        if ready(process):
            send(process, job)
            for line in process.stdout:
                with suppress(Garbled):
                    if failure := read(line).get("failure"):
                        # Most errors are those of all processes, and the first says so.
                        self._over.wait(GRACE)
                        self._lose(as_error(failure))
        code = process.wait()
        if code != PARTED:  # else another one has died
            self._lose(died(code, job))

    def _lose(self, error: Exception) -> None:
        with self._lock:
            if not self._over.is_set() and self.error is None:
                self.error = error
                self._first.kill()
                self._told.set()

    def explain(self) -> None:
        """Wait for the error, if the first process has ended because another did."""
        if self._processes and self._first.wait() == PARTED:
            self._told.wait(GRACE)

    def end(self) -> None:
        """End these processes."""
        with self._lock:
            self._over.set()
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            reap(process)
        if self._folder:
            self._folder.cleanup()
