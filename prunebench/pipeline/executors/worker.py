"""A worker process. It reads jobs as JSON lines, runs them, and answers in JSON lines.

Jobs and answers pass through copies of standard input and output, which child processes do not inherit.
For parts, standard input is empty, and their output goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from typing import Any, TextIO

from prunebench.system.heap import share_one_heap

PROGRESS_SECONDS = 0.2  # the shortest time between two reports of progress
PARTED = 3  # exit code of a process that another of its job has left alone
# What batch systems send to all processes of a job, some time before its end. The runner decides what to do.
WARNINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name)]


class _Channel:
    """The connection to the runner. A process that a part forks loses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.Queue[str] = queue.Queue()
        incoming = os.dup(0)
        outgoing = os.dup(1)
        self._answers = os.fdopen(outgoing, "w", encoding="utf-8")
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)

        def disconnect() -> None:
            os.dup2(null, incoming)
            os.dup2(null, outgoing)

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=disconnect)
        lines = os.fdopen(incoming, encoding="utf-8")
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()

    def _listen(self, lines: TextIO) -> None:
        for line in lines:
            self._jobs.put(line)
        os._exit(0)  # the runner is gone, so nobody waits for the current stage; the store stays intact

    def next(self) -> dict[str, Any]:
        """Wait for a job."""
        return dict(json.loads(self._jobs.get()))

    def answer(self, message: dict[str, Any]) -> None:
        """Send a message to the runner. End the process if that fails: the runner starts another."""
        try:
            with self._lock:
                self._answers.write(json.dumps(message) + "\n")
                self._answers.flush()
        except OSError:
            os._exit(1)


def _work_on() -> None:
    """Do not end by a warning. Processes that a part forks or starts do: handlers do not pass on to these."""
    for number in WARNINGS:
        signal.signal(number, lambda *_: None)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_answer_as_usual)


def _answer_as_usual() -> None:
    for number in WARNINGS:
        signal.signal(number, signal.SIG_DFL)


def main() -> None:
    """Run jobs until the runner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner handles Ctrl-C
    _work_on()
    share_one_heap()
    channel = _Channel()

    # Settings of torch are only set for a stage if torch was imported before it.
    import torch  # noqa: F401

    from prunebench.errors import PartedError
    from prunebench.parts import work
    from prunebench.pipeline.job import Job
    from prunebench.pipeline.jobs import device_lost, device_memory, failure, run

    channel.answer({"ready": True})
    while True:
        job = Job(**channel.next())
        reported = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal reported
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                channel.answer({"progress": [done, total, work.seen()]})

        try:
            run(job, progress, lambda: channel.answer({"begun": True}))
        except PartedError:
            os._exit(PARTED)  # the runner tries again, as if this process had died, too
        except Exception as error:
            channel.answer({"failure": failure(error) | {"device_lost": device_lost(job.device)}})
        else:
            channel.answer({"done": True, "memory": device_memory(job.device)})
