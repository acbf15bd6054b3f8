"""The base class of stages. A stage is one computation of a cell.

Each kind of stage is a class in a file of its own, in `stages/`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prunebench.parts.artefacts import Artefact
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import without_paths
from prunebench.pipeline import store
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input, Job, Keyed, Stored
from prunebench.system.sealed_json import canonical

if TYPE_CHECKING:
    from torch import nn

OVERHEAD = 0.15  # fixed cost of a final training, as a share of a training on all images


def spell(value: Any) -> str:
    """Return a value as keys contain it: canonical JSON, without the paths of files."""
    return canonical(without_paths(value))


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """One computation.

    The fields of a subclass are its identity. They are JSON. Identity and inputs decide the result.

    kind: the name of the kind of stage in plans, rows and messages.
    version: bumped when the stored result changes for the same identity and inputs.
    instant: whether it is so short that it needs no forecast.

    inputs: the inputs, each with the stage that makes it.
    dataset: the dataset of its images.
    root: the key of the dataset.
    title: the part or network that it runs, such as dual(window=10), for plans and messages.
    ratio: the pruning ratio in percent, from the selection on. None for stages before the selection.
    on_device: whether it computes on the device of the run. Others compute on a CPU, whatever that is.
    spelling: returns a value of the identity as the key contains it.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    instant: ClassVar[bool] = False

    inputs: tuple[Input, ...] = ()
    dataset: Dataset
    root: str
    title: str
    ratio: int | None = None
    on_device: bool = False
    spelling: Callable[[Any], str] = spell

    def compute(self, context: Context) -> tuple[Artefact, ...]:
        """Return the artefacts of the stage, each of another class. Raise PrunebenchError if that fails."""
        raise NotImplementedError

    @property
    def training(self) -> Identity | None:
        """The recipe, if the stage is a training on images, else None."""
        return None

    @property
    def data_parallel(self) -> bool:
        """Whether several processes may make it at once, and train its network together."""
        return self.training is not None

    @property
    def body(self) -> Callable[[], nn.Module] | None:
        """What makes the pretrained network that the training starts from. None: it starts from scratch."""
        return None

    @property
    def work(self) -> float:
        """The amount of work, relative to a stage of the same kind and title that trains on all images."""
        recipe = self.training
        if recipe is None or recipe["iterations"]:
            return 1.0  # a number of steps takes as long on fewer images
        return OVERHEAD + (100 - (self.ratio or 0)) / 100

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The fields that decide the result, without those that are None."""
        values = {name: getattr(self, name) for name in own_fields(type(self))}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def key(self) -> str:
        """The key of its result. It is known before anything is computed."""
        # Written out, in the order of canonical JSON: a plan does this for every stage of thousands of cells.
        names = _sorted_fields(type(self))  # type: ignore[arg-type]
        values = [(name, getattr(self, name)) for name in names]
        spelled = [f'"{name}":{self.spelling(value)}' for name, value in values if value is not None]
        inputs = f'"dataset":{self.spelling(self.root)},"inputs":[{",".join(self._input_keys())}]'
        inputs += f',"torch":{self.spelling(torch_major())}'
        return store.key_of(self.kind, self.version, f"{{{','.join(spelled)}}}", f"{{{inputs}}}")

    def made(self, manifest: Mapping[str, Any]) -> bool:
        """Whether a manifest is that of this stage: of its kind, its identity and its inputs."""
        return (
            manifest.get("kind") == self.kind
            and spell(manifest.get("identity")) == spell(self.identity)
            and sorted(map(canonical, manifest.get("inputs", []))) == self._input_keys()
        )

    def _input_keys(self) -> list[str]:
        """Return name, distinction and key of each input, each as canonical JSON, sorted."""
        return sorted([item.spelled for item in self.inputs])

    @classmethod
    def of_job(cls, job: Job, dataset: Dataset) -> Self:
        """Return the stage of a job, as a worker rebuilds it."""
        inputs = tuple(Input(name, Stored(key), of) for name, of, key in job.inputs)
        return cls(inputs=inputs, dataset=dataset, root=job.root, title=job.title, **job.identity)

    def named(self, name: str) -> list[Input]:
        """Return the inputs with a name, in order."""
        return [item for item in self.inputs if item.name == name]

    def source(self, name: str) -> Keyed | None:
        """Return the stage of the first input with a name, or None if there is none."""
        return next((item.source for item in self.inputs if item.name == name), None)

    @property
    def sources(self) -> list[Stage]:
        """The stages that make the inputs."""
        return [item.source for item in self.inputs if isinstance(item.source, Stage)]

    def ancestors(self, *, without: Collection[str] = ()) -> Iterator[Stage]:
        """Yield this stage and all it depends on, inputs first, each once.

        without: the names of inputs that are not followed, such as CHOICE.
        """
        yield from closure([self], without=without)


CHOICE = "choice"  # the name of inputs that hold the value that a search chose
SPENT = "spent"  # the name of inputs that say what another method's selection cost


def closure(ends: Iterable[Stage], *, without: Collection[str] = ()) -> Iterator[Stage]:
    """Yield stages and all they depend on, inputs first, each once.

    without: the names of inputs that are not followed, such as CHOICE.
    """
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        seen.add(stage.key)
        for item in stage.inputs:
            if item.source.key not in seen and item.name not in without:
                assert isinstance(item.source, Stage)
                yield from visit(item.source)
        yield stage

    for end in ends:
        if end.key not in seen:
            yield from visit(end)


@cache
def own_fields(kind: Any) -> tuple[str, ...]:
    """Return the names of the fields that form the identity of a kind of stage."""
    shared = {entry.name for entry in fields(Stage)}
    return tuple(entry.name for entry in fields(kind) if entry.name not in shared)


@cache
def _sorted_fields(kind: Any) -> list[str]:
    return sorted(own_fields(kind))


@cache
def torch_major() -> str:
    """Return the major version of torch. Another major version may give other results."""
    return metadata.version("torch").partition(".")[0]
