"""Jobs that wait for the workers of this machine.

A worker goes on with the selection that it made last, if another ratio of it waits. Parts keep in memory what
the ratios share. The other workers leave it to that one while anything else waits.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from concurrent.futures import Future

from prunebench.pipeline.job import Job
from prunebench.system.sealed_json import canonical

Item = tuple[Job, Future[None]]
CHOICE = 200  # jobs among which a worker chooses, so that a long queue takes no time


class Waiting:
    """A queue of jobs, each with its future. None stands for the end."""

    def __init__(self) -> None:
        self._items: list[tuple[Hashable, Item | None]] = []
        self._changed = threading.Condition()
        self._latest: dict[int, Hashable] = {}  # what the last job of each worker was about

    def put(self, item: Item | None) -> None:
        """Append an item."""
        about = None if item is None else topic(item[0])
        with self._changed:
            self._items.append((about, item))
            self._changed.notify()

    def get(self, worker: int) -> Item | None:
        """Wait for an item, and take the best one for a worker."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items))
            about, item = self._items.pop(self._best(worker))
            self._latest[worker] = about
            return item

    def _best(self, worker: int) -> int:
        """Return the position of the first job that goes on with the worker's last one.

        Without any it is the first job that goes on with nobody's, or else the first item.
        """
        topics = [about for about, _ in self._items[:CHOICE]]
        own = self._latest.get(worker)
        if own is not None and own in topics:
            return topics.index(own)
        taken = set(self._latest.values())
        free = (position for position, about in enumerate(topics) if about and about not in taken)
        return next(free, 0)


def topic(job: Job) -> Hashable:
    """Return what the selections of a method and seed have in common at all ratios: part, seed and inputs."""
    return job.kind, job.title, canonical(job.identity.get("seed")), canonical(job.inputs)
