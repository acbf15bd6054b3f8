"""What a seed asks for at every ratio, or seeds with equal embeddings, kept in memory for the next stage.

Only the latest thing is kept. A stage that uses it counts the time it took, as if it had made it itself.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, TypeVar, cast

import numpy as np

from prunebench.parts import work
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Progress

T = TypeVar("T")
MOST_BYTES = 2**29  # of the arrays that picks are made from. Larger ones are not held for the next call


class Timer:
    """Seconds and CPU seconds of what ran inside `running`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time of what is inside."""
        begin, cpu_begin = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - begin
        self.cpu_seconds += time.process_time() - cpu_begin

    def so_far(self) -> tuple[float, float]:
        """Return the seconds and the CPU seconds."""
        return self.seconds, self.cpu_seconds


class Picks:
    """Images in the order of a selection, made block by block.

    blocks: yields the images, int [_] each.
    """

    def __init__(self, blocks: Iterator[Array]) -> None:
        self.blocks: Iterator[Array] | None = blocks
        self.made: list[Array] = []
        self.found = 0
        self.timer = Timer()
        self.times: list[tuple[int, float, float]] = []  # images, seconds and CPU seconds after each block

    def stop(self) -> None:
        """Make no more images, and let go of the arrays they are made from."""
        self.blocks = None

    def reach(self, count: int) -> bool:
        """Say whether the first `count` images are made or can be."""
        return self.blocks is not None or count <= self.found

    def first(self, count: int, progress: Progress) -> Array:
        """Return the first `count` images: int [count]. Makes those that are missing."""
        before, cpu_before = self.timer.so_far()
        while self.blocks is not None and self.found < count:
            with self.timer.running():
                block = next(self.blocks, None)
            if block is None:
                break
            self.made.append(block)
            self.found += len(block)
            self.times.append((self.found, *self.timer.so_far()))
            progress(min(self.found, count), count)
        needed = bisect_left(self.times, (count,))
        if count and needed < len(self.times):
            _, seconds, cpu_seconds = self.times[needed]
            work.reuse(min(before, seconds), min(cpu_before, cpu_seconds))
        return np.concatenate([np.empty(0, np.int64), *self.made])[:count]


_picks: dict[Hashable, Picks] = {}
_values: dict[Callable[..., Any], tuple[Hashable, Any, Timer]] = {}


def first_picks(
    count: int, begin: Callable[[], Iterator[Array]], *asked: Any, device: str, progress: Progress
) -> Array:
    """Return the first images of a selection that does not depend on their number: int [count].

    The next call goes on where this one ended, if it asks for the same. If the arrays were not held, a call
    for more images begins anew. Nothing is held on a GPU, whose memory trainings need, nor above MOST_BYTES.

    begin: begins the selection, and yields its images in order, int [_] each. After the first block it calls
        no `progress`, which may be that of a stage that has ended.
    asked: all that the images depend on: parts, numbers, arrays and generators.
    """
    key = _key(asked)
    picks = _picks.pop(key, None)
    _picks.clear()
    if picks is None or not picks.reach(count):
        picks = Picks(begin())
    first = picks.first(count, progress)
    size = sum(value.nbytes for value in asked if isinstance(value, np.ndarray))
    if device != "cpu" or size > MOST_BYTES:
        picks.stop()
    _picks[key] = picks
    return first


def latest(make: Callable[..., T], *asked: Any, **named: Any) -> T:
    """Return make(*asked, **named), or the same object again if the latest call asked for the same.

    Nobody may change it.
    """
    key = _key((*asked, *named, *named.values()))
    if make in _values and _values[make][0] == key:
        _, value, timer = _values[make]
        work.reuse(*timer.so_far())
        return cast(T, value)
    _values.pop(make, None)  # before the next one is made: two do not fit where one does
    timer = Timer()
    with timer.running():
        value = make(*asked, **named)
    _values[make] = (key, value, timer)
    return value


def _key(asked: tuple[Any, ...]) -> Hashable:
    return tuple(_identity(value) for value in asked)


def _identity(value: Any) -> Hashable:
    """Return what is equal for equal values alone."""
    if isinstance(value, np.ndarray):
        return sha256(np.ascontiguousarray(value).data).digest(), value.shape, value.dtype.str
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    return cast(Hashable, value)
