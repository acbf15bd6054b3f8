"""What a stage is: one computation of a cell, by what it computes and by what it reads.

Each stage is a class in a file of its own, in `stages/`. What is said here holds for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib import metadata
from typing import Any, ClassVar, Self

from prunebench.parts.artefacts import Artefact
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import placeless
from prunebench.pipeline import store
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input, Job, Keyed, Stored
from prunebench.system.sealed_json import canonical

OVERHEAD = 0.15  # of a full training: what a final training costs beside its share of the images


def spell(value: Any) -> str:
    """Return the spelling of a value in keys: canonical JSON, without the places of files."""
    return canonical(placeless(value))


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """One computation.

    The fields of a subclass are its identity: they are JSON, and decide the result beside the inputs.

    kind: its name in plans, rows and messages.
    version: bumped when what it stores changes for the same identity and inputs.
    instant: whether it is so short that it needs no forecast.

    inputs: what it reads.
    dataset: whose images it is about.
    root: the dataset's key.
    title: what it runs, such as dual(window=10), for plans and messages.
    ratio: at which it selects, or trains on what was selected; None further up.
    spelling: how a value of the identity is spelled in the key.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    instant: ClassVar[bool] = False

    inputs: tuple[Input, ...] = ()
    dataset: Dataset
    root: str
    title: str
    ratio: int | None = None
    spelling: Callable[[Any], str] = spell

    def compute(self, context: Context) -> tuple[Artefact, ...]:
        """Return what the stage makes, each of another class. Raise PrunebenchError where it cannot."""
        raise NotImplementedError

    @property
    def training(self) -> Identity | None:
        """The recipe of the training on images that this stage is; None where it is something else."""
        return None

    @property
    def work(self) -> float:
        """How much there is to do, in units of stages with the same kind and title: trainings on all images.

        So many steps are as many on fewer images.
        """
        recipe = self.training
        if recipe is None or recipe["iterations"]:
            return 1.0
        return OVERHEAD + (100 - (self.ratio or 0)) / 100

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The fields of its own, those that are None left out."""
        own = {name: getattr(self, name) for name in own_fields(type(self))}  # type: ignore[arg-type]
        return {name: value for name, value in own.items() if value is not None}

    @cached_property
    def key(self) -> str:
        """The key of what it makes, known before anything is computed."""
        own = {name: self.spelling(value) for name, value in self.identity.items()}
        read = sorted(canonical([i.name, i.of, i.source.key]) for i in self.inputs)
        given = {"inputs": f"[{','.join(read)}]"}
        given |= {"dataset": self.spelling(self.root), "torch": self.spelling(torch_major())}
        return store.key_of(self.kind, self.version, _object(own), _object(given))

    @classmethod
    def of_job(cls, job: Job, dataset: Dataset) -> Self:
        """Return the stage of a job, in the process that makes it."""
        inputs = tuple(Input(name, Stored(key), of) for name, of, key in job.inputs)
        return cls(inputs=inputs, dataset=dataset, root=job.root, title=job.title, **job.identity)

    def named(self, name: str) -> list[Input]:
        """Return the inputs of a name, in order."""
        return [given for given in self.inputs if given.name == name]

    def source(self, name: str) -> Keyed | None:
        """Return the stage that made the one input of a name; None where there is none."""
        return next((given.source for given in self.inputs if given.name == name), None)

    @property
    def sources(self) -> list[Stage]:
        """The stages that make the inputs."""
        return [given.source for given in self.inputs if isinstance(given.source, Stage)]

    def ancestors(self, *, searching: bool = True) -> Iterator[Stage]:
        """Yield this stage and all it depends on, inputs first, each once; `searching`: choices included."""
        yield from closure([self], searching=searching)


CHOICE = "choice"  # the name of inputs that say which value a search chose


def closure(ends: Iterable[Stage], *, searching: bool = True) -> Iterator[Stage]:
    """Yield some stages and all they depend on, inputs first, each once; `searching`: choices included."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        seen.add(stage.key)
        for given in stage.inputs:
            if given.source.key not in seen and (searching or given.name != CHOICE):
                assert isinstance(given.source, Stage)
                yield from visit(given.source)
        yield stage

    for end in ends:
        if end.key not in seen:
            yield from visit(end)


@cache
def own_fields(kind: Any) -> tuple[str, ...]:
    """Return the names of the fields that are the identity of a kind of stage."""
    shared = {entry.name for entry in fields(Stage)}
    return tuple(entry.name for entry in fields(kind) if entry.name not in shared)


@cache
def torch_major() -> str:
    """Return the major version of torch: the next one need not repeat its results."""
    return metadata.version("torch").partition(".")[0]


def _object(values: dict[str, str]) -> str:
    """Return the canonical spelling of an object from those of its values."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in sorted(values.items())) + "}"
