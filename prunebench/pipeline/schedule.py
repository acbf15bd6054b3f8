"""One loop over a graph of stages: submit all that are ready, wait until one is done, repeat.

Stored stages are never submitted.
A failed stage fails the stages that depend on it, and no others.
A damaged input is made again. The stage that read it is then tried again.
A stage that another runner makes blocks no worker. The loop looks for its result at intervals.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Generic, Protocol, Self, TypeVar

from prunebench.errors import BusyError, MissingArtefactError
from prunebench.pipeline.executors.engine import Executor
from prunebench.pipeline.job import Job
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.system.leases import Watch

REPAIRS = 3  # damaged inputs that one stage may find before it counts as failed
LOOK = 0.2  # at most so many seconds between two looks for the results of other runners

T = TypeVar("T")


class Node(Protocol):
    """A stage, or what stands for one."""

    @property
    def key(self) -> str:
        """The key of its result."""

    @property
    def sources(self) -> Sequence[Self]:
        """What makes its inputs."""


N = TypeVar("N", bound=Node)


@dataclass
class Outcome:
    """The result of a walk.

    failures: the error of each failed stage, by key.
    """

    failures: dict[str, Exception] = field(default_factory=dict)

    def failure(self, stage: Stage) -> Exception | None:
        """Return the error of a stage or of one it depends on, or None if there is none."""
        for ancestor in stage.ancestors():
            if ancestor.key in self.failures:
                return self.failures[ancestor.key]
        return None


def missing(targets: Iterable[Stage], store: Store) -> dict[str, Stage]:
    """Return the stages to make so that all targets exist, by key, inputs first.

    Targets are verified against their sha256 here, because they are read next.
    Inputs are verified on reading.
    """
    needed: dict[str, Stage] = {}

    def visit(stage: Stage, stored: bool) -> None:
        if stage.key in needed or stored:
            return
        for upstream in stage.sources:
            visit(upstream, upstream.key in store)
        needed[stage.key] = stage

    for target in targets:
        visit(target, store.verify(target.key))
    return needed


def mended(make: Callable[[], None], read: Callable[[], T]) -> T:
    """Call `make`, then `read`, and repeat both if `read` finds a damaged artefact.

    Raise MissingArtefactError if an artefact is still damaged after REPAIRS repeats.
    """
    for _ in range(REPAIRS):
        make()
        with suppress(MissingArtefactError):
            return read()
    make()
    return read()


def walk(
    needed: dict[str, N],
    store: Store,
    executor: Executor,
    job_of: Callable[[N], Job],
    finished: Callable[[N], None],
) -> Outcome:
    """Make the needed stages, each as soon as its inputs are stored.

    needed: the stages by key. Of those that can be made at once the first are submitted first.
    job_of: returns the job of a stage.
    finished: called after each stage.
    """
    return _Walk(needed, store, executor, job_of, finished).run()


@dataclass
class _Walk(Generic[N]):
    """The state of a walk.

    running: the stages that the executor makes.
    elsewhere: the stages that other runners make.
    watches: a watch on the lease of each stage that another runner makes or made.
    waiting: the stages that wait for a damaged input, by its key.
    repairs: how often each stage found a damaged input.
    made: the keys for which `finished` was called, so that a repaired stage is not counted twice.
    """

    needed: dict[str, N]
    store: Store
    executor: Executor
    job_of: Callable[[N], Job]
    finished: Callable[[N], None]
    outcome: Outcome = field(default_factory=Outcome)
    running: dict[Future[None], N] = field(default_factory=dict)
    elsewhere: dict[str, N] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)
    waiting: dict[str, list[N]] = field(default_factory=dict)
    repairs: Counter[str] = field(default_factory=Counter)
    made: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        inputs = {
            key: [upstream.key for upstream in stage.sources if upstream.key in self.needed]
            for key, stage in self.needed.items()
        }
        self.graph = TopologicalSorter(inputs)

    def run(self) -> Outcome:
        """Loop until no stage is left that can be made."""
        self.graph.prepare()
        while True:
            for key in self.graph.get_ready():
                self.submit(self.needed[key])
            if not (self.running or self.elsewhere):
                return self.outcome
            for future in self.next():
                self.settle(self.running.pop(future), future.exception())
            self.look()

    def submit(self, stage: N) -> None:
        """Hand a stage to the executor."""
        self.running[self.executor.submit(self.job_of(stage))] = stage

    def next(self) -> list[Future[None]]:
        """Wait for an answer, at most until the next look. Return finished futures, in submission order."""
        pause = LOOK * random.uniform(0.5, 1) if self.elsewhere else None
        if not self.running:
            time.sleep(pause or 0)
            return []
        done = wait(self.running, pause, FIRST_COMPLETED).done
        return [future for future in self.running if future in done]

    def look(self) -> None:
        """Take the stages that other runners finished, and submit those that they gave up."""
        for key, stage in list(self.elsewhere.items()):
            if key in self.store:
                del self.elsewhere[key]
                self.done(stage)
            elif self.watches[key].free():
                del self.elsewhere[key]
                self.submit(stage)

    def settle(self, stage: N, error: BaseException | None) -> None:
        """Handle the answer to one stage: its success, or its error."""
        if error is None:
            self.done(stage)
        elif isinstance(error, BusyError):
            self.elsewhere[stage.key] = stage
            self.watches.setdefault(stage.key, Watch(self.store.claimed(stage.key)))
        elif isinstance(error, MissingArtefactError) and self.repairable(stage, error.key):
            self.repair(stage, error.key)
        elif isinstance(error, Exception):
            for failed in (stage, *self.waiting.pop(stage.key, [])):
                self.outcome.failures[failed.key] = error
        else:
            raise error

    def repairable(self, stage: N, damaged: str) -> bool:
        """Whether a damaged artefact is an input of the stage, and the stage has repairs left."""
        return self.repairs[stage.key] < REPAIRS and damaged in {upstream.key for upstream in stage.sources}

    def repair(self, stage: N, damaged: str) -> None:
        """Submit a damaged input again, and let the stage wait for it.

        An input that is under way, or whose turn is yet to come, is not submitted twice.
        """
        self.repairs[stage.key] += 1
        self.waiting.setdefault(damaged, []).append(stage)
        to_come = self.needed.keys() - self.made - self.outcome.failures.keys()
        under_way = {*self.elsewhere, *(running.key for running in self.running.values())}
        if damaged not in to_come | under_way:
            self.submit(next(upstream for upstream in stage.sources if upstream.key == damaged))

    def done(self, stage: N) -> None:
        """Mark a stage as made, and submit the stages that waited for it."""
        for dependent in self.waiting.pop(stage.key, []):
            self.submit(dependent)
        if stage.key in self.needed and stage.key not in self.made:
            self.made.add(stage.key)
            self.graph.done(stage.key)
            self.finished(stage)
