"""How many workers share one GPU, by the memory that stages were seen to take."""

from __future__ import annotations

import threading

MOST = 8  # workers on one GPU: they share the time of the card, so more gain nothing


class Packing:
    """Opens worker after worker, as long as one more fits into the memory of the GPU.

    A worker counts with what the largest stage so far took, and with what a worker holds between stages.

    most: the most workers.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.workers = 1  # that are open
        self._between = 0  # bytes that were taken of the GPU after the first stage, by a worker at rest
        self._largest = 0  # bytes of the largest stage so far
        self._changed = threading.Condition()

    def wait(self, number: int) -> None:
        """Return once the worker of this number is open. The first, 0, always is."""
        with self._changed:
            self._changed.wait_for(lambda: number < self.workers)

    def learn(self, *, peak: int, free: int, total: int) -> None:
        """Open another worker after a stage, if there is room for it. Close some if the stage was too large.

        A closed worker finishes the stage under way.

        peak: bytes that the stage took at once.
        free: bytes of the GPU that nobody holds now.
        total: bytes of the GPU.
        """
        with self._changed:
            # What other programs hold counts as the worker's own, because nothing tells them apart.
            self._between = self._between or total - free
            self._largest = max(self._largest, peak)
            each = self._between + self._largest
            wanted = self.workers + 1 if free >= each else self.workers
            self.workers = max(1, min(wanted, total // each, self.most))
            self._changed.notify_all()

    def open_all(self) -> None:
        """Open all workers, so that none waits any more."""
        with self._changed:
            self.workers = self.most
            self._changed.notify_all()
