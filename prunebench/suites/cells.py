"""Cells: each is one (method, dataset, ratio, seed) with all that decides its result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prunebench.parts.base import Backbone, Selector
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import identity, without_paths
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.suites.exams import Exams
from prunebench.suites.printed import Printed
from prunebench.suites.schema import repeat_of
from prunebench.suites.tuning import SEARCHED, Search, with_values
from prunebench.system.sealed_json import canonical

PROTOCOL = 1  # bump when rows made before and after may no longer share a table


@dataclass(frozen=True, kw_only=True)
class Filters:
    """The user's choice of cells on the command line. None keeps the value of the suite.

    methods: names of methods, or ["all"].
    datasets: names of datasets, or FAMILY:PATH@PIXELS.
    ratios: percentages pruned.
    seeds: the seeds.
    recipe: name of a recipe.
    tuning: name of a tuning rule.
    repeats: the first of RUNGS that a seed repeats.
    on_bad: reaction to images that cannot be read, as the dataset defines it.
    changes: values of --set, by "PART.field" or "recipe.field".
    """

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    ratios: Sequence[int] | None = None
    seeds: Sequence[int] | None = None
    recipe: str | None = None
    tuning: str | None = None
    repeats: str | None = None
    on_bad: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (method, dataset, ratio, seed) with all that decides its result.

    suite: name of the suite.
    dataset: the dataset.
    method: the method, with the values of recipe and flags in its parts.
    ratio: percent pruned.
    seed: number of the repeat.
    recipe_name: name of the recipe.
    recipe: how networks are trained.
    repeats: the first of RUNGS that a seed repeats.
    tuning: name of the tuning rule.
    proxy_backbone: the backbone of proxy networks, or None if they train on images.
    final_backbone: the backbone of final networks, or None if they train on images.
    searches: the searches of the tuning rule for this method, in order.
    printed: values from a paper, for fields that a search would set otherwise.
    exams: what the selection is put to beside the accuracy of its final network.
    keep: exact number of images to keep, if no ratio gives it, or None.
    changes: values of --set that concern this method. Its name holds them too.
    """

    suite: str
    dataset: Dataset
    method: Method
    ratio: int
    seed: int
    recipe_name: str
    recipe: Recipe
    repeats: str
    tuning: str
    proxy_backbone: Backbone | None = None
    final_backbone: Backbone | None = None
    searches: tuple[Search, ...] = ()
    printed: tuple[Printed, ...] = ()
    exams: Exams = Exams()  # noqa: RUF009 - a frozen value
    keep: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __hash__(self) -> int:
        """Hash the names alone. Cells are looked up often, and hashing all of their parts is slow."""
        return hash((self.method.name, self.dataset.name, self.ratio, self.seed))

    @property
    def name(self) -> str:
        """The name of this cell in messages. It says the rung unless a seed repeats all."""
        rung = "" if self.repeats == "pipeline" else f" of {self.repeats}"
        return f"{self.method.name} {self.dataset.name} {self.ratio}% seed {self.seed}{rung}"

    @property
    def selector(self) -> Selector:
        """The method's selector with the fields filled in that depend on the ratio."""
        selector = self.method.selector
        for entry in self.printed:
            name = entry.search.grid.field
            if (value := self.published.get(name)) is not None:
                selector = with_values(selector, name, entry.search.parts, value)  # type: ignore[assignment]
        return selector.at(self.ratio)

    def repeat(self, rung: str) -> int:
        """Return the repeat of a rung: the seed, or 0 if all seeds share it."""
        return repeat_of(rung, self.repeats, self.seed)

    @property
    def published(self) -> dict[str, float]:
        """The values that a paper printed for this cell, by field."""
        if self.method.matched_to is not None:
            return {}
        values = {}
        for entry in self.printed:
            value = dict(entry.values).get(self.ratio)
            if value is not None:
                values[entry.search.grid.field] = value
        return values

    @property
    def searched(self) -> tuple[Search, ...]:
        """The searches for this cell. There are none if its tuning rule does not search.

        A Random matched to another method has none either. The cells of that method have them.
        """
        if self.tuning in SEARCHED and self.method.matched_to is None:
            return self.searches
        return ()

    @property
    def method_key(self) -> str:
        """Hash of a row's method at any ratio, 16 hex digits: of parts, recipe, tuning, repeats, exams."""
        matched_to = self.method.matched_to
        searches = self.searches if self.tuning in SEARCHED else ()
        meaning = {
            "parts": _identities(self.method),
            "matched_to": matched_to and _identities(matched_to),
            "final": self.method.final,
            "recipe": self.recipe.identity(),
            "proxy_backbone": self.proxy_backbone and identity(self.proxy_backbone),
            "final_backbone": self.final_backbone and identity(self.final_backbone),
            "repeats": self.repeats,
            "tuning": self.tuning,
            "searches": [search.identity() for search in searches],
            "printed": [list(pair) for entry in self.printed for pair in entry.values],
            "protocol": PROTOCOL,
        }
        if self.method.timed_to is not None:  # else the key stays that of rows from before it
            meaning["matched_in"] = "work"
        if exams := self.exams.identity():  # else the key stays that of rows from before exams
            meaning["exams"] = exams
        return hashlib.sha256(canonical(without_paths(meaning)).encode()).hexdigest()[:16]


def training_key(recipe: Recipe, backbone: Backbone | None) -> str:
    """Hash of how final networks train, 16 hex digits: what rows have in common that share a table.

    backbone: that of final networks, or None if they train on images.
    """
    meaning = {"recipe": recipe.final().identity(), "backbone": backbone and identity(backbone)}
    return hashlib.sha256(canonical(without_paths(meaning)).encode()).hexdigest()[:16]


def _identities(method: Method) -> dict[str, Any]:
    """Return the identities of the parts of a method, by kind."""
    return {kind: identity(part) for kind, part in method.parts.items()}
