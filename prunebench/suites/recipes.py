"""The recipes file: how networks are trained on each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import construct
from prunebench.parts.recipe import Recipe
from prunebench.suites.resources import read_toml, shipped

T = TypeVar("T")


@cache
def recipe_table() -> dict[str, dict[str, dict[str, Any]]]:
    """Return benchmarks/recipes.toml as recipe name -> dataset -> fields and part tables.

    An entry with `extends` has the values of that recipe's entry for the dataset, but for its own.
    """
    table: dict[str, dict[str, dict[str, Any]]] = read_toml(shipped() / "recipes.toml")["recipe"]
    for entries in table.values():
        for dataset, entry in entries.items():
            if base := entry.pop("extends", None):
                entries[dataset] = table[base][dataset] | entry
    return table


def recipe_for(name: str, dataset: Dataset) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """Return the recipe `name` for a dataset, and the fields that it sets in parts, by part name.

    Raise PrunebenchError if the recipe is unknown or has no entry for the dataset.
    """
    table = recipe_table()
    listed = table.get(name, {})
    if name not in table and name not in dataset.recipes:
        raise unknown("recipe", name, {*table, *dataset.recipes}, "benchmarks/recipes.toml")
    entry = by_lineage(listed, dataset) or dataset.recipes.get(name)
    if entry is None:
        usable = [other for other in table if by_lineage(table[other], dataset)] + list(dataset.recipes)
        raise PrunebenchError(
            f"recipe {name!r} has no entry for dataset {dataset.name!r}. "
            f"Recipes that have: {', '.join(sorted(usable)) or 'none; see docs/suites.md'}"
        )
    recipe_fields = {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
    parts = {key: dict(value) for key, value in entry.items() if isinstance(value, Mapping)}
    return construct(Recipe, recipe_fields, f"recipe {name} for {dataset.name}"), parts


def by_lineage(table: Mapping[str, T], dataset: Dataset) -> T | None:
    """Return the table's entry for a dataset, or for the nearest dataset it derives from, or None."""
    return next((table[name] for name in dataset.lineage if name in table), None)
