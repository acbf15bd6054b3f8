"""The heap: what is freed is kept for the next block, and given back at the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prunebench.system import heap

pytestmark = pytest.mark.skipif(heap._glibc() is None, reason="the C library is not glibc")

BLOCK = 80 * 2**20  # bytes: more than glibc keeps in a thread
TIMES = 20


def faults() -> int:
    """Return how often the system gave a page to this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def blocks() -> int:
    """Write to some blocks, one after the other. Return how many pages the system gave for them."""
    before = faults()
    for _ in range(TIMES):
        torch.ones(BLOCK, dtype=torch.uint8)
    return faults() - before


def in_use() -> int:
    """Return the bytes of memory that this process has."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def in_a_new_process(lines: str) -> str:
    """Run lines of Python. Return what they print. The heap of a new process has no gaps of earlier tests."""
    imports = "from threading import Thread\nfrom tests.system.test_heap import *\n"
    done = subprocess.run([sys.executable, "-c", imports + lines], capture_output=True, text=True, check=True)
    return done.stdout


def test_freed_memory_serves_the_next_block():
    found = in_a_new_process("""
usual = blocks()
with heap.freed_memory_kept():
    blocks()
    kept = blocks()
print(usual, kept)
""")
    usual, kept = map(int, found.split())
    assert kept < usual / TIMES


def test_it_is_given_back_at_the_end_and_after_an_error():
    with heap.freed_memory_kept():
        pass  # gives back what tests before this one have left
    before = in_use()
    with pytest.raises(ZeroDivisionError), heap.freed_memory_kept():
        torch.ones(BLOCK, dtype=torch.uint8)
        assert in_use() > before + BLOCK // 2
        raise ZeroDivisionError
    assert in_use() < before + BLOCK // 2


def test_threads_of_a_worker_keep_memory_too():
    found = in_a_new_process("""
heap.share_one_heap()
pages = []
with heap.freed_memory_kept():
    thread = Thread(target=lambda: pages.extend((blocks(), blocks())))
    thread.start()
    thread.join()
print(*pages)
""")
    first, second = map(int, found.split())
    assert second < first / TIMES


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "_glibc", lambda: None)
    heap.share_one_heap()
    with heap.freed_memory_kept():
        pass
