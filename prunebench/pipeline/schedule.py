"""One loop over a graph of stages: submit what is ready, wait for whichever is done first.

Stored stages are never dispatched. A failed stage fails what depends on it and nothing else. A
stored input that turns out to be damaged is made again, and the stage that read it tried again. A stage
that another runner makes blocks no worker: it is looked at now and then, while others are made.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import TypeVar

from prunebench.errors import BusyError, MissingArtefactError
from prunebench.pipeline.executors.engine import Executor
from prunebench.pipeline.job import Job
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.system.leases import Watch

REPAIRS = 3  # how often one stage may find an input damaged before it counts as failed
LOOK = 0.2  # seconds between two looks at what other runners make

T = TypeVar("T")


@dataclass
class Outcome:
    """What became of a walk: the failure of each failed stage, by key."""

    failures: dict[str, Exception] = field(default_factory=dict)

    def failure(self, stage: Stage) -> Exception | None:
        """Return the error that kept a stage from being made, its own or an input's."""
        return next((self.failures[s.key] for s in stage.ancestors() if s.key in self.failures), None)


def missing(targets: Iterable[Stage], store: Store) -> dict[str, Stage]:
    """Return the stages that must be made so that all targets exist, by key, inputs first.

    Targets are verified against their sha256, since they are read next; an input only when it is read.
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
    """Make what is missing, then read it; where something was damaged, make and read again.

    Raise MissingArtefactError where that happens time after time.
    """
    for _ in range(REPAIRS):
        make()
        with suppress(MissingArtefactError):
            return read()
    make()
    return read()


def walk(
    needed: dict[str, Stage],
    store: Store,
    executor: Executor,
    job_of: Callable[[Stage], Job],
    finished: Callable[[Stage], None],
) -> Outcome:
    """Make the needed stages, each as soon as its inputs are there; `finished` hears of each."""
    return _Walk(needed, store, executor, job_of, finished).run()


@dataclass
class _Walk:
    """A walk under way.

    running: what the executor makes. elsewhere: what other runners make, and the watch on each.
    waiting: by the key of a damaged input, the stages that wait until it is made again. repairs: how often
    a stage waited so. made: what `finished` heard of; a stage made again is not done twice.
    """

    needed: dict[str, Stage]
    store: Store
    executor: Executor
    job_of: Callable[[Stage], Job]
    finished: Callable[[Stage], None]
    outcome: Outcome = field(default_factory=Outcome)
    running: dict[Future[None], Stage] = field(default_factory=dict)
    elsewhere: dict[str, Stage] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)
    waiting: dict[str, list[Stage]] = field(default_factory=dict)
    repairs: Counter[str] = field(default_factory=Counter)
    made: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        inputs = {
            key: [upstream.key for upstream in stage.sources if upstream.key in self.needed]
            for key, stage in self.needed.items()
        }
        self.graph = TopologicalSorter(inputs)

    def run(self) -> Outcome:
        """Go on until nothing is left that can be made."""
        self.graph.prepare()
        while True:
            for key in self.graph.get_ready():
                self.submit(self.needed[key])
            if not (self.running or self.elsewhere):
                return self.outcome
            for future in self.next():
                self.settle(self.running.pop(future), future.exception())
            self.look()

    def submit(self, stage: Stage) -> None:
        """Hand a stage to the executor."""
        self.running[self.executor.submit(self.job_of(stage))] = stage

    def next(self) -> list[Future[None]]:
        """Wait for an answer, no longer than until the next look; return all that came, as submitted."""
        pause = LOOK * random.uniform(0.5, 1) if self.elsewhere else None
        if not self.running:
            time.sleep(pause or 0)
            return []
        done = wait(self.running, pause, FIRST_COMPLETED).done
        return [future for future in self.running if future in done]

    def look(self) -> None:
        """Take what other runners made, and submit what none of them makes any more."""
        for key, stage in list(self.elsewhere.items()):
            if key in self.store:
                del self.elsewhere[key]
                self.done(stage)
            elif self.watches[key].free():
                del self.elsewhere[key]
                self.submit(stage)

    def settle(self, stage: Stage, error: BaseException | None) -> None:
        """Decide what follows from the answer to one stage."""
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

    def repairable(self, stage: Stage, damaged: str) -> bool:
        """Whether what a stage found damaged is an input of it, and that not time after time."""
        return self.repairs[stage.key] < REPAIRS and damaged in {upstream.key for upstream in stage.sources}

    def repair(self, stage: Stage, damaged: str) -> None:
        """Have a damaged input of a stage made again, and the stage wait for it."""
        self.repairs[stage.key] += 1
        self.waiting.setdefault(damaged, []).append(stage)
        under_way = {*self.elsewhere, *(running.key for running in self.running.values())}
        if damaged not in under_way:
            self.submit(next(upstream for upstream in stage.sources if upstream.key == damaged))

    def done(self, stage: Stage) -> None:
        """Go on with what waited for a stage."""
        for dependent in self.waiting.pop(stage.key, []):
            self.submit(dependent)
        if stage.key in self.needed and stage.key not in self.made:
            self.made.add(stage.key)
            self.graph.done(stage.key)
            self.finished(stage)
