"""Batches of images that do not fit on the device, read and moved while the network computes.

ImageNet has 252 GB as squares of 256 pixels. Its images stay in the memory of the host, or in a memory map.
Threads read the next batches into pinned memory. A stream of its own copies them to the device. A step waits
for neither, unless reading is slower than computing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache

import numpy as np
import torch

from prunebench.parts.artefacts import Array
from prunebench.parts.images import Images, reader

Tensor = torch.Tensor
DEPTH = 3  # batches read ahead. One more is on its way to the device
READERS = 8  # threads. A disk serves several readers faster than one


class ReadAhead(Iterator[Tensor]):
    """Yields batches of images as tensors [b, channels, side, side] on the device, in order.

    They are those of `images[index]`, for each index of `batches`. It holds `DEPTH` batches in pinned memory,
    and two on the device, however many images there are.

    images: the images, for use on a CUDA device.
    batches: the indices of each batch, int [b].
    """

    def __init__(self, images: Images, batches: Sequence[Array]) -> None:
        self.images = images
        self.batches = batches
        largest = max(map(len, batches))
        shape = (largest, images.channels, images.resolution, images.resolution)
        kind = getattr(torch, str(images.array.dtype))
        self.buffers = [torch.empty(shape, dtype=kind).pin_memory() for _ in range(DEPTH)]
        self.copied: list[torch.cuda.Event | None] = [None] * DEPTH
        self.stream = copying()
        self.fetch = reader(images.array)
        self.pool = ThreadPoolExecutor(READERS)
        self.begun = 0
        self.reading: deque[tuple[int, list[Future[None]]]] = deque()
        for _ in range(DEPTH):
            self._begin()
        self.moving = self._move()

    def __next__(self) -> Tensor:
        if self.moving is None:
            raise StopIteration
        batch, arrived = self.moving
        self.moving = self._move()
        if self.moving is None:
            self.pool.shutdown()
        stream = torch.cuda.current_stream()
        stream.wait_event(arrived)
        batch.record_stream(stream)  # so that its memory is not given away while the step uses it
        return batch

    def _begin(self) -> None:
        """Let the threads read the next batch into the buffer that is free, if there is another batch."""
        if self.begun == len(self.batches):
            return
        number = self.begun
        self.begun += 1
        index = self.batches[number]
        buffer = self.buffers[number % DEPTH].numpy()
        parts = np.array_split(np.arange(len(index)), READERS)
        futures = [self.pool.submit(self._read, number, index, part, buffer) for part in parts if len(part)]
        self.reading.append((number, futures))

    def _read(self, number: int, index: Array, part: Array, buffer: Array) -> None:
        """Read the images of `part`, positions in the batch, into the buffer."""
        copied = self.copied[number % DEPTH]
        if copied is not None:
            copied.synchronize()  # the batch before is still on its way from this buffer
        self.fetch(index[part], buffer[part[0] : part[-1] + 1])

    def _move(self) -> tuple[Tensor, torch.cuda.Event] | None:
        """Start to copy the next batch that is read. Return it, with an event that says it has arrived."""
        if not self.reading:
            return None
        number, futures = self.reading.popleft()
        wait(futures)
        for future in futures:
            future.result()  # raises what the thread raised
        buffer = self.buffers[number % DEPTH]
        with torch.cuda.stream(self.stream):
            batch = buffer[: len(self.batches[number])].to(self.images.device, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        self.copied[number % DEPTH] = arrived
        self._begin()
        return batch, arrived


@cache
def copying() -> torch.cuda.Stream:
    """Return the stream of all copies. Memory that torch keeps for a stream serves no other."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class EpochReader:
    """Gives the images of the steps of an epoch: from the device, or read ahead if they do not fit there.

    images: the images, for use on a device.
    """

    def __init__(self, images: Images) -> None:
        self.images = images
        self.reads_ahead = not images.fits
        self.ahead: ReadAhead | None = None

    def restart(self) -> None:
        """Forget what was read ahead, as the steps to come have other images."""
        self.ahead = None

    def read(self, index: Tensor, rest: Callable[[], Sequence[Tensor]]) -> Tensor:
        """Return the images of the next step: uint8 [b, channels, side, side].

        index: their positions, int64 [b].
        rest: returns those of this step and of each later one of the epoch. Called once an epoch at most.
        """
        if not self.reads_ahead:
            return self.images[index]
        if self.ahead is None:
            steps = rest()
            positions = torch.cat(tuple(steps)).cpu().numpy()  # waits for the device once
            ends = np.cumsum([len(step) for step in steps])
            self.ahead = ReadAhead(self.images, np.split(positions, ends[:-1]))
        return next(self.ahead)
