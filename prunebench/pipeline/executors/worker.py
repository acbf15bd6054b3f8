"""A worker process: reads jobs as JSON lines, makes them, and answers in JSON lines.

Both ways lead through copies of standard input and output that no child process inherits. What parts know as
standard input is empty, and what they print goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from typing import Any, TextIO

PROGRESS_SECONDS = 0.2


class _Channel:
    """The way to the runner and back. A process that a part forks has no way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.Queue[str] = queue.Queue()
        heard, said = os.dup(0), os.dup(1)
        self._said = os.fdopen(said, "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

        def cut() -> None:
            os.dup2(nothing, heard)
            os.dup2(nothing, said)

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=cut)
        threading.Thread(target=self._listen, args=(os.fdopen(heard, encoding="utf-8"),), daemon=True).start()

    def _listen(self, heard: TextIO) -> None:
        for line in heard:
            self._jobs.put(line)
        os._exit(0)  # the runner is gone: nobody waits for what we are making, and the store needs no goodbye

    def next(self) -> dict[str, Any]:
        """Wait for a job."""
        return dict(json.loads(self._jobs.get()))

    def answer(self, message: dict[str, Any]) -> None:
        """Tell the runner something. Without a way to it, end: it starts another worker."""
        try:
            with self._lock:
                self._said.write(json.dumps(message) + "\n")
                self._said.flush()
        except OSError:
            os._exit(1)


def main() -> None:
    """Work until the runner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner hears Ctrl-C and decides
    channel = _Channel()

    import torch  # noqa: F401 - so that its settings are those of a stage before the first one begins

    from prunebench.pipeline.job import Job
    from prunebench.pipeline.jobs import failure, run

    channel.answer({"ready": True})
    while True:
        job = Job(**channel.next())
        said = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                channel.answer({"progress": [done, total]})

        try:
            run(job, progress, lambda: channel.answer({"begun": True}))
        except Exception as error:
            channel.answer({"failure": failure(error)})
        else:
            channel.answer({"done": True})
