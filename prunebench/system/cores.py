"""The cores that this process may use, and calls on several of them at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

MOST = 16  # threads, since each holds images of its own in memory

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Return how many threads share work on images: one for each core, MOST at most."""
    return min(MOST, cores())


def in_order(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Call a function on each item, on all `threads` at once. Yield the results in the order of the items.

    Threads gain where the function leaves the interpreter's lock, as decoders and torch do. A call sees the
    context variables of this one. At most two results for each thread wait for a slow caller.
    """
    count = threads()
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(copy_context().run, function, item))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
