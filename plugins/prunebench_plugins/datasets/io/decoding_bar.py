"""A bar on the terminal that shows how far the decoding of images is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DELAY_SECONDS = 2.0


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function `update(done)` that draws a bar on a terminal, after DELAY_SECONDS."""
    begin = time.monotonic()
    progress = None

    def update(done: int) -> None:
        nonlocal progress
        if progress is None and time.monotonic() - begin > DELAY_SECONDS and sys.stderr.isatty():
            progress = _progress()
            progress.add_task(title, total=total)
            progress.start()
        if progress is not None:
            progress.update(progress.task_ids[0], completed=done)

    try:
        yield update
    finally:
        if progress is not None:
            progress.stop()


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
