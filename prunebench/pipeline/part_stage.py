"""Stages that run a part: which inputs it gets, how it is called, and what it must not do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.artefacts import Choice, Dynamics, Embeddings, Labels, Scores, Weights
from prunebench.parts.base import Part
from prunebench.parts.identity import construct, identity
from prunebench.parts.images import Handed, checksums
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context, load_split, stream
from prunebench.pipeline.job import Identity, Input, Seed
from prunebench.pipeline.plan import Plan, seed_of, spelled
from prunebench.pipeline.stage import CHOICE, Stage
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import settled
from prunebench.system.isolation import at_work, warn

P = TypeVar("P", bound="PartStage")
CHOSEN = "chosen"  # stands for the value of a field that a search sets
# Inputs that a part may ask for and go without.
OPTIONAL = ("known", "labels", "dynamics", "weights", "scores")


@dataclass(frozen=True, eq=False, kw_only=True)
class PartStage(Stage):
    """A stage that runs a part.

    part: its identity.
    tuned: the fields that a search sets, each with the names of the parts that have it.
    recipe, side, seed: only where the part asks for them.
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
        **own: Any,
    ) -> P:
        """Return the stage of a part.

        It reads those of the `available` inputs that the part names, and `also` others.
        """
        needs = plan.needs(part)
        inputs = [given for given in available if given.name in needs or given.name in also]
        tuned: dict[str, list[str]] = {}
        for search in cell.searched:
            chosen = [i for i in available if i.name == CHOICE and i.of == search.grid.field]
            if chosen and search.concerns(part):
                inputs += chosen
                tuned[search.grid.field] = list(search.parts)
        if not title:
            title = spelled(part, dict.fromkeys(tuned, CHOSEN)) if tuned else plan.spelled(part)
        return plan.add(
            cls,
            cell,
            inputs,
            title=title,
            ratio=ratio,
            part=plan.identity(part),
            tuned=tuned or None,
            recipe=plan.recipe(plan.proxy(cell.recipe)) if "recipe" in needs else None,
            side=cell.recipe.side if "side" in needs else None,
            seed=seed_of(cls.kind, repeat) if "rng" in needs else None,
            **own,
        )


class Call:
    """One part at work for a stage: handed what it names, and held to its contract."""

    def __init__(self, stage: PartStage, context: Context) -> None:
        self.stage, self.context = stage, context

    @cached_property
    def part(self) -> Part:
        """The part. Raise PrunebenchError where it is not the one that the key was made from."""
        part = registry.load().rebuild(self.stage.part)
        if identity(part) != self.stage.part:
            raise PrunebenchError(f"the code of {part.name!r} changed during the run; run the command again")
        for chosen in self.stage.named(CHOICE):
            assert self.stage.tuned is not None
            value = self.context.read(chosen, Choice).value
            part = settled(part, chosen.of, self.stage.tuned[chosen.of], value)
        return part

    @cached_property
    def who(self) -> str:
        """The part, with its distribution."""
        return registry.load().described(self.part.kind, self.part.name)

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Return what the part's method asks for, by name."""
        makers = self._makers() | {name: lambda value=value: value for name, value in more.items()}
        absent = {name for name in OPTIONAL if self.stage.source(name) is None}
        asked = (name for name, required in self.part.needs().items() if required or name not in absent)
        return {name: makers[name]() for name in asked}

    def _makers(self) -> dict[str, Callable[[], Any]]:
        """Return how each thing that a part may name is made."""
        context, stage = self.context, self.stage
        return {
            "images": lambda: Handed(context.images),
            "names": lambda: context.names,
            "fingerprint": lambda: context.root,
            "classes": lambda: context.classes,
            "recipe": lambda: construct(Recipe, stage.recipe or {}, "recipe"),
            "side": lambda: stage.side,
            "rng": lambda: stream(stage.seed or []),
            "device": lambda: context.device,
            "progress": lambda: context.progress,
            "checkpoint": lambda: context.checkpoint,
            "embeddings": lambda: context.joined(stage.named("embeddings"), Embeddings),
            "known": lambda: self.one("known", Labels).values,
            "labels": lambda: self.one("labels", Labels).values,
            "dynamics": lambda: self.one("dynamics", Dynamics),
            "weights": lambda: self.one("weights", Weights),
            "scores": lambda: self.one("scores", Scores).values,
        }

    def one(self, name: str, artefact: type[Any]) -> Any:
        """Return the one input of a name."""
        return self.context.read(self.stage.named(name)[0], artefact)

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        """Call the part's one method. Raise PrunebenchError where it changed what it was handed.

        Arrays are read-only, but memory that torch shares with NumPy knows nothing of that.
        """
        before = checksums(arguments)
        try:
            with at_work(self.who):
                return getattr(self.part, self.part.method)(**arguments)
        finally:
            after = checksums(arguments)
            if getattr(arguments.get("images"), "altered", False):
                warn(f"{self.who} writes to the images it is handed; they are copies, so nobody else sees it")
            if changed := [name for name in before if after[name] != before[name]]:
                load_split.cache_clear()  # so that the next stage reads them anew
                raise self.bug(f"changed its input {changed[0]}, which is shared; change a copy")

    def bug(self, what: str) -> PrunebenchError:
        """Return the error for a part that broke its contract."""
        return PrunebenchError(
            f"{self.who} {what} ({self.context.dataset.name}). This is a bug in {type(self.part).__module__}."
        )
