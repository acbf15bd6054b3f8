"""What stages are planned with: the keys of datasets, and every stage once.

Thousands of cells share parts, recipes and all that comes before the selection: these are spelled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prunebench.parts import seeds
from prunebench.parts.base import Part
from prunebench.parts.identity import at_defaults, identity
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.job import Input, Seed
from prunebench.pipeline.stage import Stage, spell
from prunebench.suites.cells import Cell

S = TypeVar("S", bound=Stage)
T = TypeVar("T")


class Plan:
    """The stages planned so far, each once, by key."""

    def __init__(self, roots: Mapping[str, str]) -> None:
        """Plan on datasets with these keys, by name."""
        self.roots = roots
        self.stages: dict[str, Stage] = {}
        self.chosen: dict[tuple[Cell, str], Stage] = {}  # by cell and field
        self._shared: dict[tuple[object, ...], tuple[Cell, Any]] = {}
        self._spell = _once(spell)
        self.identity, self.spelled = _once(identity), _once(spelled)
        self.recipe, self.proxy, self.final = _once(Recipe.identity), _once(Recipe.proxy), _once(Recipe.final)
        self.needs = _once(needs)

    def add(
        self,
        kind: type[S],
        cell: Cell,
        inputs: Iterable[Input] = (),
        *,
        title: str = "",
        ratio: int | None = None,
        **own: Any,
    ) -> S:
        """Return the stage of a kind with these inputs and fields of its own; title: the kind if empty."""
        stage = kind(
            inputs=tuple(inputs),
            dataset=cell.dataset,
            root=self.roots[cell.dataset.name],
            title=title or kind.kind,
            ratio=ratio,
            spelling=self._spell,
            **own,
        )
        return self.stages.setdefault(stage.key, stage)  # type: ignore[return-value]

    def shared(self, cell: Cell, make: Callable[[], T], *place: object) -> T:
        """Return what all cells share that have method, recipe, dataset and `place` in common."""
        which = (id(cell.method), id(cell.recipe), id(cell.printed), cell.dataset.name, *place)
        if which not in self._shared:
            self._shared[which] = cell, make()  # the cell is kept, so that nothing else has these ids
        return self._shared[which][1]  # type: ignore[no-any-return]


def _once(function: Callable[..., T]) -> Callable[..., T]:
    """Return `function` that remembers what it returned, by which objects it was given.

    Not by their values: equal parts may be spelled unlike, as Dual(exponent=1) and Dual(exponent=1.0) are.
    """
    made: dict[tuple[int, ...], tuple[tuple[Any, ...], T]] = {}

    def remembered(*given: Any) -> T:
        which = tuple(map(id, given))
        if which not in made:
            made[which] = given, function(*given)  # what was given is kept, so that nothing else has its id
        return made[which][1]

    return remembered


def needs(part: Part) -> set[str]:
    """Return the names of the inputs of a part."""
    return {*part.needs(), *(["labels"] if getattr(part, "per_class", False) else [])}


def spelled(part: Part, tuned: Mapping[str, str] | None = None) -> str:
    """Spell a part with the fields that are not at their default; `tuned` has words for some values."""
    words = tuned or {}

    def plain(value: Any) -> str:
        if isinstance(value, tuple) and any(isinstance(inner, Part | Path) for inner in value):
            return " + ".join(map(plain, value))
        return spelled(value, words) if isinstance(value, Part) else str(value)

    usual = at_defaults(part) - set(words)
    names = [entry.name for entry in fields(part) if entry.name not in usual]
    shown = ", ".join(f"{name}={plain(words.get(name) or getattr(part, name))}" for name in names)
    return f"{part.name}({shown})" if shown else part.name


def upstream_repeat(cell: Cell) -> int:
    """Return the repeat of everything before the selection: the seed's own, or 0 where that is shared."""
    return cell.seed if cell.repeats == "pipeline" else 0


@cache  # so that a plan spells it once
def seed_of(stream: str, repeat: int) -> Seed:
    """Return the seed of a stream in a repeat, as JSON."""
    return [seeds.ROOT_SEED, stream, repeat]


def length(recipe: Recipe) -> str:
    """Say how long a recipe trains."""
    return f"{recipe.iterations} steps" if recipe.iterations else f"{recipe.epochs} epochs"


def training_title(recipe: Recipe) -> str:
    """Say what a recipe trains, and how long."""
    return f"{recipe.network}, {length(recipe)}"
