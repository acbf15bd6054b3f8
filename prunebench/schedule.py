"""One loop over a graph of stages: submit what is ready, wait for whichever is done first.

Stored stages are never dispatched. A failed stage fails what depends on it and nothing else. A
stored input that turns out to be damaged is made again, and the stage that read it tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Protocol

from prunebench.errors import MissingArtefactError
from prunebench.stages import Job, Stage
from prunebench.store import Store

REPAIRS = 3  # how often one stage may find an input damaged before it counts as failed


class Executor(Protocol):
    """What the loop needs of an engine."""

    def submit(self, job: Job) -> Future[None]:
        """Start making a job, now or later."""


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
        for upstream in stage.inputs.values():
            visit(upstream, upstream.key in store)
        needed[stage.key] = stage

    for target in targets:
        visit(target, store.verify(target.key))
    return needed


def walk(
    needed: dict[str, Stage],
    executor: Executor,
    job_of: Callable[[Stage], Job],
    finished: Callable[[Stage], None],
) -> Outcome:
    """Make the needed stages, each as soon as its inputs are there; `finished` hears of each."""
    graph = TopologicalSorter(
        {k: [u.key for u in s.inputs.values() if u.key in needed] for k, s in needed.items()}
    )
    graph.prepare()
    outcome = Outcome()
    running: dict[Future[None], Stage] = {}
    waiting: dict[str, list[Stage]] = {}  # stages that wait for a damaged input to be made again
    repairs: dict[str, int] = {}
    made: set[str] = set()  # a stage made again after damage is not done twice

    def submit(stage: Stage) -> None:
        running[executor.submit(job_of(stage))] = stage

    while True:
        for key in graph.get_ready():
            submit(needed[key])
        if not running:
            return outcome
        done = wait(running, return_when=FIRST_COMPLETED).done
        for future in [future for future in running if future in done]:  # in the order of submission
            stage = running.pop(future)
            error = future.exception()
            if isinstance(error, MissingArtefactError) and repairs.setdefault(stage.key, 0) < REPAIRS:
                repairs[stage.key] += 1
                damaged = next(s for s in stage.inputs.values() if s.key == error.key)
                waiting.setdefault(damaged.key, []).append(stage)
                if damaged.key not in {s.key for s in running.values()}:
                    submit(damaged)
                continue
            if isinstance(error, Exception):
                outcome.failures[stage.key] = error
                for dependent in waiting.pop(stage.key, []):
                    outcome.failures[dependent.key] = error
                continue
            if error is not None:
                raise error
            for dependent in waiting.pop(stage.key, []):
                submit(dependent)
            if stage.key in needed and stage.key not in made:
                made.add(stage.key)
                graph.done(stage.key)
                finished(stage)
