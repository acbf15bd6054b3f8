"""Many files with photos, decoded by threads: blocks in order, what was bad or odd, and a bar."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.io import squares
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoders import decoders

TOGETHER = 64  # photos that a thread decodes in one go
THREADS = 16  # at most
PATIENCE = 2.0  # seconds before a bar appears


@dataclass(frozen=True, eq=False)
class Block:
    """Files that one thread decoded, `names` of them.

    pixels: uint8 [k, 3, side, side] of those that are photos. bad and odd: why, by place in the block.
    """

    names: int
    pixels: Array
    bad: dict[int, str]
    odd: dict[int, str]


@dataclass(eq=False)
class Found:
    """What is known of the first `names` files: which are bad or odd, and why, by place in the names."""

    names: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        """Add what was found in the block that follows."""
        self.bad |= {self.names + place: reason for place, reason in block.bad.items()}
        self.odd |= {self.names + place: what for place, what in block.odd.items()}
        self.names += block.names

    def since(self, start: int) -> dict[str, Any]:
        """Return what was found from place `start` on, as JSON."""
        bad = [[place, reason] for place, reason in self.bad.items() if place >= start]
        odd = [[place, what] for place, what in self.odd.items() if place >= start]
        return {"names": self.names, "bad": bad, "odd": odd}

    def take(self, line: dict[str, Any]) -> None:
        """Add what `since` returned."""
        names = int(line["names"])
        bad = {int(place): str(reason) for place, reason in line["bad"]}
        odd = {int(place): str(what) for place, what in line["odd"]}
        self.names, self.bad, self.odd = names, self.bad | bad, self.odd | odd


def blocks(tree: Tree, names: Sequence[str], side: int) -> Iterator[Block]:
    """Decode the named files in parallel; yield blocks in order, few of which wait at any time."""
    threads = max(1, min(THREADS, os.cpu_count() or 1))
    together = max(1, min(TOGETHER, len(names) // (2 * threads)))
    waiting: deque[Future[Block]] = deque()
    # Decoders work outside the interpreter's lock.
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(names), together):
                waiting.append(pool.submit(_decode, tree, names[start : start + together], side))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(tree: Tree, names: Sequence[str], side: int) -> Block:
    pixels: Array = np.empty((len(names), 3, side, side), np.uint8)
    bad, odd, filled = dict[int, str](), dict[int, str](), 0
    with decoders():
        for place, name in enumerate(names):
            try:
                what = squares.fill(pixels[filled], _content(tree, name), name)
            except squares.BadPhotoError as error:
                bad[place] = str(error)
                continue
            filled += 1
            if what:
                odd[place] = what
    return Block(len(names), pixels[:filled], bad, odd)


def _content(tree: Tree, name: str) -> bytes:
    try:
        return tree.read(name)
    except MemoryError:
        raise
    except OSError as error:
        raise squares.BadPhotoError(error.strerror or str(error)) from None
    except Exception as error:  # a damaged archive makes its reader raise anything
        raise squares.BadPhotoError(" ".join(str(error).split()) or type(error).__name__) from None


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many are done, and shows it on a terminal once that takes long."""
    begin, live = time.monotonic(), None

    def tell(done: int) -> None:
        nonlocal live
        if live is None and time.monotonic() - begin > PATIENCE and sys.stderr.isatty():
            live = _progress()
            live.add_task(title, total=total)
            live.start()
        if live is not None:
            live.update(live.task_ids[0], completed=done)

    try:
        yield tell
    finally:
        if live is not None:
            live.stop()


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
