"""The heap of the C library: the memory that freed tensors leave, and the next ones get."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Options of glibc's `mallopt`.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
ARENA_MAX = -8

# Bytes of the largest block that is kept. Blocks of many sizes leave gaps: with 2**30 a ProbCover took
# 1.4 times the memory, with this 1.1 times.
KEPT = 2**27
NEVER = -1  # a number without sign there: more bytes than are ever free
USUAL = 2**25  # bytes above which glibc keeps no block by itself


def share_one_heap() -> None:
    """Let all threads of this process use one heap. Call this before the first thread starts.

    glibc gives each thread a heap of its own, and there it keeps no block above 64 MiB.
    """
    if library := _glibc():
        library.mallopt(ARENA_MAX, 1)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory for the next blocks meanwhile. Give it back to the system afterwards.

    By itself glibc gives a large block back at once. A network frees and asks for the same blocks at each
    step, and the system would clear their pages each time. `benchmarks/speed/heap.py` measures what it costs.

    With another C library nothing changes.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_THRESHOLD, KEPT)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        # The thresholds cannot be read. These are those at which glibc arrives as large blocks are freed.
        library.mallopt(MMAP_THRESHOLD, USUAL)
        library.mallopt(TRIM_THRESHOLD, 2 * USUAL)
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
