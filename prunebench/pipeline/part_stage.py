"""Stages that run a part: choosing its inputs, calling it, and checking its contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.artefacts import Array, Choice, Dynamics, Embeddings, Labels, Scores, Weights
from prunebench.parts.base import Part
from prunebench.parts.identity import construct, identity
from prunebench.parts.images import Handed, Images, checksums
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context, load_split, load_vectors, stream
from prunebench.pipeline.job import Identity, Input, Seed
from prunebench.pipeline.plan import Plan, seed_of, spelled
from prunebench.pipeline.stage import CHOICE, Stage
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import with_values
from prunebench.system.closed import closed
from prunebench.system.isolation import at_work, warn

P = TypeVar("P", bound="PartStage")
CHOSEN = "chosen"  # shown in titles instead of a value that a search sets
# Inputs that may be absent. A part that can do without one declares it with a default.
OPTIONAL = ("known_labels", "labels", "dynamics", "weights", "scores")


@dataclass(frozen=True, eq=False, kw_only=True)
class PartStage(Stage):
    """A stage that runs a part.

    part: the identity of the part.
    tuned: the fields that a search sets, each with the names of the parts that have the field.
    recipe: how its networks train, or None if the part does not ask for it.
    side: the input size in pixels, or None if the part does not ask for it.
    seed: the seed of its random stream, or None if the part does not ask for one.
    """

    part: Identity
    tuned: dict[str, list[str]] | None = None
    recipe: Identity | None = None
    side: int | None = None
    seed: Seed | None = None

    @classmethod
    def planned(
        cls: type[P],
        plan: Plan,
        cell: Cell,
        part: Part,
        available: Sequence[Input],
        repeat: int,
        *,
        also: Collection[str] = (),
        ratio: int | None = None,
        title: str = "",
        **more: Any,
    ) -> P:
        """Return the stage of a part.

        available: the inputs from which the stage takes those that the part asks for.
        repeat: the repeat of its random stream.
        also: names of further inputs that the stage reads. A part that asks for the recipe also gets `seen`,
            the embeddings that the recipe's networks train on, if they do not train on images.
        ratio: the pruning ratio in percent, from the selection on.
        title: the name in plans. By default the part with its changed fields.
        more: further fields of the stage.
        """
        needs = plan.needs(part)
        wanted = {*needs, *also, *(("seen",) if "recipe" in needs else ())}
        inputs = [item for item in available if item.name in wanted]
        tuned: dict[str, list[str]] = {}
        for search in cell.searched:
            field = search.grid.field
            choices = [item for item in available if item.name == CHOICE and item.of == field]
            if choices and search.concerns(part):
                inputs += choices
                tuned[field] = list(search.parts)
        if not title:
            title = spelled(part, dict.fromkeys(tuned, CHOSEN)) if tuned else plan.spelled(part)
        return plan.add(
            cls,
            cell,
            inputs,
            title=title,
            ratio=ratio,
            on_device="device" in needs,
            part=plan.identity(part),
            tuned=tuned or None,
            recipe=plan.recipe(plan.proxy(cell.recipe)) if "recipe" in needs else None,
            side=cell.recipe.side if "side" in needs else None,
            seed=seed_of(cls.kind, repeat) if "rng" in needs else None,
            **more,
        )

    @property
    def data_parallel(self) -> bool:
        """Whether the part says so."""
        return registry.load().rebuild(self.part).data_parallel


class Call:
    """A call of a part for a stage. It gives the part the arguments it names, and checks its contract."""

    def __init__(self, stage: PartStage, context: Context) -> None:
        self.stage, self.context = stage, context

    @cached_property
    def part(self) -> Part:
        """The part, with the values that searches chose.

        Raise PrunebenchError if its code changed since the key was made.
        """
        part = registry.load().rebuild(self.stage.part)
        if identity(part) != self.stage.part:
            raise PrunebenchError(f"the code of {part.name!r} changed during the run; run the command again")
        for choice in self.stage.named(CHOICE):
            assert self.stage.tuned is not None
            value = self.context.read(choice, Choice).value
            part = with_values(part, choice.of, self.stage.tuned[choice.of], value)
        return part

    @cached_property
    def who(self) -> str:
        """The name of the part, with its distribution, for messages."""
        return registry.load().described(self.part.kind, self.part.name)

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Return the arguments that the part's method asks for, by name.

        more: arguments that are not inputs of the stage, such as `keep`.
        """
        makers = self._makers()
        arguments = {}
        for name, required in self.part.needs().items():
            absent = name in OPTIONAL and self.stage.source(name) is None
            if absent and not required:
                continue
            arguments[name] = more[name] if name in more else makers[name]()
        return arguments

    def _makers(self) -> dict[str, Callable[[], Any]]:
        """Return a function for each argument that a part may name. It loads or makes the argument."""
        context = self.context
        stage = self.stage
        return {
            "images": self._images,
            "names": lambda: context.names,
            "fingerprint": lambda: context.root,
            "classes": lambda: context.classes_for(self.part),
            "recipe": self._recipe,
            "side": lambda: stage.side,
            "rng": lambda: stream(stage.seed or []),
            "device": lambda: context.device,
            "progress": lambda: context.progress,
            "checkpoint": lambda: context.checkpoint,
            "embeddings": lambda: context.joined(stage.named("embeddings"), Embeddings),
            "known_labels": lambda: self.one("known_labels", Labels).values,
            "labels": lambda: self.one("labels", Labels).values,
            "dynamics": lambda: self.one("dynamics", Dynamics),
            "weights": lambda: self.one("weights", Weights),
            "scores": lambda: self.one("scores", Scores).values,
            "labeled": lambda: None,  # no image has a label before a draw
        }

    def _images(self) -> Images:
        """Return the images, or the embeddings in their place if networks of the recipe train on these."""
        if self.stage.named("seen"):
            return self.context.vectors(self.stage.named("seen"))
        return Handed(self.context.images)

    def _recipe(self) -> Recipe:
        recipe = construct(Recipe, self.stage.recipe or {}, "recipe")
        return recipe.on_vectors() if self.stage.named("seen") else recipe

    def one(self, name: str, artefact: type[Any]) -> Any:
        """Return the artefact of the input with a name."""
        return self.context.read(self.stage.named(name)[0], artefact)

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        """Call the part's method and return its result.

        Raise PrunebenchError if it changed an argument. Arrays are read-only in NumPy, but a torch tensor
        that shares their memory can still write to them.
        """
        before = checksums(arguments)
        try:
            with self.at_work():
                return getattr(self.part, self.part.method)(**arguments)
        finally:
            after = checksums(arguments)
            if getattr(arguments.get("images"), "altered", False):
                warn(f"{self.who} writes to the images it is handed; they are copies, so nobody else sees it")
            if changed := [name for name in before if after[name] != before[name]]:
                load_split.cache_clear()  # it may hold the changed array
                load_vectors.cache_clear()
                raise self.bug(f"changed its input {changed[0]}, which is shared; change a copy")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run the code of the part, which may not load a dataset, nor open the files of a blinded one."""
        with at_work(self.who), closed(self.context.closed_folders, self.who):
            yield

    def bug(self, problem: str) -> PrunebenchError:
        """Return the error for a part that broke its contract. problem: the rest of "PART ..."."""
        module = type(self.part).__module__
        return PrunebenchError(
            f"{self.who} {problem} ({self.context.dataset.name}). This is a bug in {module}."
        )


def described(array: Array) -> str:
    """Return type, shape and range of an array, such as: int64 [3] in 0..9."""
    text = f"{array.dtype} {list(array.shape)}"
    if array.size and array.dtype.kind in "iuf":
        text += f" in {array.min()}..{array.max()}"
    return text
