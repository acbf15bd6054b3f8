"""Cells: one (method, dataset, ratio, seed) each, with everything that decides its result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prunebench.parts.base import Backbone, Selector
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import identity, placeless
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.suites.printed import Printed
from prunebench.suites.tuning import SEARCHED, Search, settled
from prunebench.system.sealed_json import canonical

PROTOCOL = 1  # bump when rows made before and after may no longer share a table


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What the command line says about which cells to run; None leaves the suite's own list."""

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    ratios: Sequence[int] | None = None
    seeds: Sequence[int] | None = None
    recipe: str | None = None
    tuning: str | None = None
    on_bad: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)  # "PART.field" or "recipe.field" -> value


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (method, dataset, ratio, seed) with everything that decides its result."""

    suite: str
    dataset: Dataset
    method: Method
    ratio: int
    seed: int
    recipe_name: str
    recipe: Recipe
    repeats: str
    tuning: str
    proxy: Backbone | None = None  # the recipe's proxy_backbone, made
    searches: tuple[Search, ...] = ()  # what the tuning rule searches for this method, in order
    printed: tuple[Printed, ...] = ()  # values that a paper printed, for fields that are searched otherwise
    keep: int | None = None  # how many images exactly, where that is no ratio
    changes: Mapping[str, Any] = field(default_factory=dict, compare=False)  # of --set, that its name tells

    def __hash__(self) -> int:
        """Hash the names alone: cells are looked up often, and hold much that would be hashed each time."""
        return hash((self.method.name, self.dataset.name, self.ratio, self.seed))

    @property
    def name(self) -> str:
        """How messages name this cell."""
        return f"{self.method.name} {self.dataset.name} {self.ratio}% seed {self.seed}"

    @property
    def selector(self) -> Selector:
        """The method's selector with the fields that depend on the ratio filled in."""
        selector = self.method.selector
        for one in self.printed:
            name = one.search.grid.field
            if (value := self.published.get(name)) is not None:
                selector = settled(selector, name, one.search.parts, value)  # type: ignore[assignment]
        return selector.at(self.ratio)

    @property
    def published(self) -> dict[str, float]:
        """The values of fields that a paper printed for this cell, where they are to be taken."""
        if self.method.beside is not None:
            return {}
        found = {one.search.grid.field: dict(one.values).get(self.ratio) for one in self.printed}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def searched(self) -> tuple[Search, ...]:
        """What is searched for this cell: nothing unless the rule is one that searches.

        Nor for a Random beside another method, whose own cells are searched.
        """
        return self.searches if self.tuning in SEARCHED and self.method.beside is None else ()

    @property
    def method_key(self) -> str:
        """Hash of what a row's method means, whatever the ratio: parts, recipe, tuning, repeats."""
        beside, tried = self.method.beside, [search.identity() for search in self.searches]
        printed = [list(pair) for one in self.printed for pair in one.values]
        meaning = {
            "parts": {kind: identity(part) for kind, part in self.method.parts.items()},
            "beside": beside and {kind: identity(part) for kind, part in beside.parts.items()},
            "recipe": self.recipe.identity(),
            **({"proxy": identity(self.proxy)} if self.proxy else {}),
            "tuning": self.tuning,
            **({"searches": tried} if tried and self.tuning in SEARCHED else {}),
            **({"printed": printed} if printed else {}),
            "repeats": self.repeats,
            "protocol": PROTOCOL,
        } | ({} if self.method.final == "truth" else {"final": self.method.final})
        return hashlib.sha256(canonical(placeless(meaning)).encode()).hexdigest()[:16]
