"""Tuning rules: the fields that a suite searches for a method, and how a value is set in its parts.

default        no search: one value per part for all datasets
search         hold out a tenth of the labeled images, select from the others, train with the labeler's
               labels, and validate with its labels of the tenth. No test image is seen, and no true label
               outside the label budget (SemiPrune, 3.4.3)
oracle_test    the same grids, validated by final trainings on the test split, to study the gap
published      the cutoffs printed for Semi-AUM, which may have been chosen on the test split
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.base import Grid, Part, Scorer, Selector
from prunebench.parts.identity import change, construct, map_parts
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe

RULES = ("default", "search", "published", "oracle_test")
# The rules that search, and what each validates on. Rows repeat these texts, so they stay as they are.
SEARCHED = {
    "search": "the labeler's labels of a tenth of the labeled images",
    "oracle_test": "the test split",
}
HELD_OUT = 0.1  # of the labeled images, for validation


@dataclass(frozen=True)
class Search:
    """The search for one field.

    grid: the field and its values.
    parts: names of the parts that have the field.
    """

    grid: Grid
    parts: tuple[str, ...]

    def values(self, recipe: Recipe, ratio: int) -> list[int | float]:
        """Return the values to try at a ratio, in percent pruned. Raise PrunebenchError if there are none."""
        limit = {"": float("inf"), "ratio": ratio / 100, "epochs": recipe.epochs}[self.grid.at_most]
        values = [value for value in self.grid.values if value <= limit + 1e-9]
        if not values:
            raise PrunebenchError(
                f"tuning {self.grid.field}: none of the values {list(self.grid.values)} is at most {limit:g}"
            )
        return values

    def identity(self) -> dict[str, Any]:
        """Return parts and grid as JSON, for keys."""
        return {"parts": list(self.parts), **asdict(self.grid)}

    def concerns(self, part: Part) -> bool:
        """Whether this search sets a field of `part` or of a part that it holds."""
        return any(inner.name in self.parts for inner in held(part))


def held(part: Part) -> Iterator[Part]:
    """Yield all parts that a part holds, then the part itself."""
    parts: list[Part] = []

    def visit(inner: Part) -> Part:
        parts.append(inner)
        return inner

    map_parts(part, visit)
    yield from parts


def with_values(part: Part, field: str, names: Sequence[str], value: Any) -> Part:
    """Return `part` with a field set to a value, in itself and in the parts it holds.

    part: the part to change.
    field: name of the field.
    names: names of the parts that have the field. Other parts stay as they are.
    value: the new value.
    """

    def visit(inner: Part) -> Part:
        return change(inner, {field: value}, inner.name) if inner.name in names else inner

    return map_parts(part, visit)


def searches(
    method: Method, given: Mapping[str, Mapping[str, Any]], fixed: Collection[tuple[str, str]] = ()
) -> tuple[Search, ...]:
    """Return the searches for a method in order: the grids of its scorer, then those of its selector.

    A value set by a recipe is added to the grid of its field. A method without a labeler has no labels to
    validate with, so it has no searches. Raise PrunebenchError if a suite gives one field two grids.

    method: the method.
    given: a suite's own grids, by part and field. They replace the grids that parts declare.
    fixed: the (part, field) pairs that somebody set by hand. They keep their values.
    """
    if method.labeler is None:
        return ()
    by_field: dict[str, Search] = {}
    suite_grids: dict[str, Grid] = {}
    parts: list[Part] = []
    for top in (method.scorer, method.selector):
        if top:
            parts += held(top)
    for part in parts:
        if not isinstance(part, Scorer | Selector):
            continue
        declared = {grid.field: grid for grid in part.grids}
        replacing = _given(part, given.get(part.name, {}))
        for name, grid in (declared | replacing).items():
            if name in replacing and suite_grids.setdefault(name, grid) != grid:
                raise PrunebenchError(f"this suite has two grids of {name!r} that one method has to follow")
            # Parts that share a field share its search.
            search = by_field.get(name, Search(_with(grid, getattr(part, name)), ()))
            by_field[name] = Search(suite_grids.get(name, search.grid), (*search.parts, part.name))
    searched = []
    for search in by_field.values():
        if not any((name, search.grid.field) in fixed for name in search.parts):
            searched.append(search)
    # A search for each ratio alone comes last: it builds on the values of those before it.
    return tuple(sorted(searched, key=lambda search: search.grid.each))


def _with(grid: Grid, value: Any) -> Grid:
    """Return a grid with the present value of its field added, such as one that a recipe set."""
    if not isinstance(value, int | float) or value in grid.values:
        return grid
    return replace(grid, values=tuple(sorted((*grid.values, value))))


def _given(part: Part, tables: Mapping[str, Any]) -> dict[str, Grid]:
    """Return the grids of a suite's `[grids.PART.FIELD]` tables for a part, by field."""
    grids = {}
    for name, table in tables.items():
        known = [entry.name for entry in fields(part)]
        if name not in known:
            raise unknown(f"field of {part.name}", name, known, f"prunebench list {part.kind}s")
        grids[name] = construct(Grid, {"field": name, **table}, f"grids.{part.name}.{name}")
    return grids
