"""What a suite's tuning rule searches for a method, and how a value is set in its parts.

default        nothing: one value per part for all datasets
search         hold a tenth of the labelled images out, select from the others, train with the labeler's
               labels, and ask those of the tenth: no true label and no test image is seen that was not paid
               for (SemiPrune, 3.4.3)
oracle_test    the same grids, judged by final trainings on the test split: only to study the gap
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
SEARCHED = {
    "search": "the labeler's labels of a tenth of the labelled images",
    "oracle_test": "the test split",
}
HELD_OUT = 0.1  # of the labelled images, to validate on


@dataclass(frozen=True)
class Search:
    """A grid, and the names of the parts whose field it sets."""

    grid: Grid
    parts: tuple[str, ...]

    def values(self, recipe: Recipe, ratio: int) -> list[int | float]:
        """Return the values that can be tried at a ratio; raise PrunebenchError where there are none."""
        most = {"": float("inf"), "ratio": ratio / 100, "epochs": recipe.epochs}[self.grid.at_most]
        found = [value for value in self.grid.values if value <= most + 1e-9]
        if not found:
            raise PrunebenchError(
                f"tuning {self.grid.field}: none of the values {list(self.grid.values)} is at most {most:g}"
            )
        return found

    def identity(self) -> dict[str, Any]:
        """Return what it is, as JSON."""
        return {"parts": list(self.parts), **asdict(self.grid)}

    def concerns(self, part: Part) -> bool:
        """Whether `part`, or one that it holds, is set by this search."""
        return any(inner.name in self.parts for inner in held(part))


def held(part: Part) -> Iterator[Part]:
    """Yield all parts that a part holds, and then itself."""
    found: list[Part] = []
    map_parts(part, lambda inner: found.append(inner) or inner)  # type: ignore[func-returns-value]
    yield from found


def settled(part: Part, field: str, names: Sequence[str], value: Any) -> Part:
    """Return `part` with the field set to a value wherever a part called one of `names` has it."""
    return map_parts(
        part, lambda inner: change(inner, {field: value}, inner.name) if inner.name in names else inner
    )


def searches(
    method: Method, given: Mapping[str, Mapping[str, Any]], fixed: Collection[tuple[str, str]] = ()
) -> tuple[Search, ...]:
    """Return what is searched for a method, in order: what its scorer declares, then its selector.

    given: a suite's own grids, by part and field, which replace those that parts declare. fixed: (part,
    field) that somebody set by hand: such a field keeps its value. What a recipe sets is tried beside the
    grid. A method without a labeler has no labels to validate with, so nothing is searched for it. Raise
    PrunebenchError where a suite gives one field two grids.
    """
    if method.labeler is None:
        return ()
    found: dict[str, Search] = {}
    own: dict[str, Grid] = {}
    for part in (part for held_by in (method.scorer, method.selector) if held_by for part in held(held_by)):
        if not isinstance(part, Scorer | Selector):
            continue
        suites = _given(part, given.get(part.name, {}))
        for name, grid in ({grid.field: grid for grid in part.grids} | suites).items():
            if name in suites and own.setdefault(name, grid) != grid:
                raise PrunebenchError(f"this suite has two grids of {name!r} that one method has to follow")
            before = found.get(name, Search(_with(grid, getattr(part, name)), ()))
            found[name] = Search(own.get(name, before.grid), (*before.parts, part.name))
    left = (s for s in found.values() if not any((part, s.grid.field) in fixed for part in s.parts))
    return tuple(sorted(left, key=lambda search: search.grid.each))  # each builds on those before


def _with(grid: Grid, value: Any) -> Grid:
    """Return a grid that tries a value of a recipe too."""
    if not isinstance(value, int | float) or value in grid.values:
        return grid
    return replace(grid, values=tuple(sorted((*grid.values, value))))


def _given(part: Part, tables: Mapping[str, Any]) -> dict[str, Grid]:
    """Return the grids that a suite's `[grids.PART.FIELD]` tables put on a part."""
    grids = {}
    for name, table in tables.items():
        known = [entry.name for entry in fields(part)]
        if name not in known:
            raise unknown(f"field of {part.name}", name, known, "prunebench list")
        grids[name] = construct(Grid, {"field": name, **table}, f"grids.{part.name}.{name}")
    return grids
