"""A worker process: reads jobs as JSON lines from standard input, makes them, answers on standard output."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, TextIO

PROGRESS_SECONDS = 0.2


def _listen(jobs: queue.Queue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # the runner is gone: nobody waits for what we are making, and the store needs no goodbye


def _answer(channel: TextIO, message: dict[str, Any]) -> None:
    print(json.dumps(message), file=channel, flush=True)


def main() -> None:
    """Work until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner hears Ctrl-C and decides
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a plugin prints must not look like an answer
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()

    import torch

    from prunebench.jobs import failure, run
    from prunebench.stages import Job

    torch.set_num_threads(1)
    while True:
        job = Job(**json.loads(jobs.get()))
        said = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                _answer(channel, {"progress": [done, total]})

        try:
            run(job, progress)
        except Exception as error:
            _answer(channel, {"failure": failure(error)})
        else:
            _answer(channel, {"done": True})


if __name__ == "__main__":
    main()
