"""A plan: every stage of many cells, once.

Thousands of cells share parts, recipes and the stages before the selection. A plan computes their identities,
titles and keys once.
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
    """The stages planned so far.

    roots: the keys of the datasets, by name.
    stages: the stages, by key.
    chosen: the stages that choose tuned fields, by cell and field.
    """

    def __init__(self, roots: Mapping[str, str]) -> None:
        """Start an empty plan. roots: the keys of the datasets, by name."""
        self.roots = roots
        self.stages: dict[str, Stage] = {}
        self.chosen: dict[tuple[Cell, str], Stage] = {}
        self._shared: dict[tuple[object, ...], tuple[Cell, Any]] = {}
        self._spell = _once(spell)
        self.identity = _once(identity)
        self.pinned = _once(lambda backbone: identity(backbone.pinned()))
        self.spelled = _once(spelled)
        self.recipe = _once(Recipe.identity)
        self.proxy = _once(Recipe.proxy)
        self.final = _once(Recipe.final)
        self.transferred = _once(lambda recipe: cache(recipe.transferred))
        self.needs = _once(needs)

    def add(
        self,
        kind: type[S],
        cell: Cell,
        inputs: Iterable[Input] = (),
        *,
        title: str = "",
        ratio: int | None = None,
        on_device: bool = False,
        **more: Any,
    ) -> S:
        """Return the stage of a kind with these inputs, and plan it unless the plan has it already.

        title: its name in plans and messages. By default the kind.
        ratio: the pruning ratio in percent, from the selection on.
        on_device: whether it computes on the device of the run.
        more: the fields that the kind adds to those of every stage.
        """
        stage = kind(
            inputs=tuple(inputs),
            dataset=cell.dataset,
            root=self.roots[cell.dataset.name],
            title=title or kind.kind,
            ratio=ratio,
            on_device=on_device,
            spelling=self._spell,
            **more,
        )
        return self.stages.setdefault(stage.key, stage)  # type: ignore[return-value]

    def shared(self, cell: Cell, make: Callable[[], T], *more: object) -> T:
        """Return the result of `make`, called once for all cells with the same method, recipe and dataset.

        more: further values that such cells must have in common.
        """
        key = (id(cell.method), id(cell.recipe), id(cell.printed), cell.dataset.name, *more)
        if key not in self._shared:
            self._shared[key] = cell, make()  # keeps the cell alive, so that no other object gets these ids
        return self._shared[key][1]  # type: ignore[no-any-return]


def _once(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return `function` with a cache by the id of its argument.

    A cache by value would be wrong: equal parts can have different titles and keys, such as Dual(exponent=1)
    and Dual(exponent=1.0).
    """
    results: dict[int, T] = {}
    arguments: list[object] = []  # keeps them alive, so that no other object gets their ids

    def cached(argument: Any) -> T:
        if id(argument) not in results:
            results[id(argument)] = function(argument)
            arguments.append(argument)
        return results[id(argument)]

    return cached


def needs(part: Part) -> set[str]:
    """Return the names of the inputs of a part. A selector that chooses per class reads labels."""
    names = set(part.needs())
    if getattr(part, "per_class", False):
        names.add("labels")
    return names


def spelled(part: Part, tuned: Mapping[str, str] | None = None) -> str:
    """Return a part's name, with the fields that differ from their defaults.

    tuned: texts to show for some fields, instead of their values.
    """
    words = tuned or {}

    def plain(value: Any) -> str:
        if isinstance(value, tuple) and any(isinstance(inner, Part | Path) for inner in value):
            return " + ".join(map(plain, value))
        return spelled(value, words) if isinstance(value, Part) else str(value)

    unchanged = at_defaults(part) - set(words)
    names = [entry.name for entry in fields(part) if entry.name not in unchanged]
    shown = ", ".join(f"{name}={plain(words.get(name) or getattr(part, name))}" for name in names)
    return f"{part.name}({shown})" if shown else part.name


@cache  # every call returns the same list, so that `_once` finds it by its id
def seed_of(stream: str, repeat: int) -> Seed:
    """Return the seed of a random stream in a repeat, as JSON."""
    return [seeds.ROOT_SEED, stream, repeat]


def length(recipe: Recipe) -> str:
    """Return the length of a training, such as 200 epochs."""
    return f"{recipe.iterations} steps" if recipe.iterations else f"{recipe.epochs} epochs"


def training_title(recipe: Recipe) -> str:
    """Return the network and the length of a training, for titles."""
    return f"{recipe.network}, {length(recipe)}"
