"""What a suite's tuning rule searches for a method, and how a value is set in its parts.

default        nothing: one value per part for all datasets
search         select from 90 % of the training images, train with the labeler's labels, and ask those of the
               other 10 %: no true label and no test image is seen that was not paid for (SemiPrune, 3.4.3)
oracle_test    the same grids, judged by final trainings on the test split: only to study the gap
published      the cutoffs printed for Semi-AUM, which may have been chosen on the test split
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from prunebench.errors import PrunebenchError, unknown
from prunebench.identity import change, construct, map_parts
from prunebench.parts import Grid, Method, Part, Recipe, Scorer, Selector

RULES = ("default", "search", "published", "oracle_test")
SEARCHED = {
    "search": "the labeler's labels of 10 % of the training images",
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


def searches(method: Method, given: Mapping[str, Mapping[str, Any]]) -> tuple[Search, ...]:
    """Return what is searched for a method, in order: what its scorer declares, then its selector.

    given: a suite's own grids, by part and field, over those that parts declare. A method without a
    labeler has no labels to validate with, so nothing is searched for it.
    """
    if method.labeler is None:
        return ()
    found: dict[str, Search] = {}
    for part in (part for own in (method.scorer, method.selector) if own for part in held(own)):
        if isinstance(part, Scorer | Selector):
            grids = {grid.field: grid for grid in part.grids} | _given(part, given.get(part.name, {}))
            for name, grid in grids.items():
                before = found.get(name, Search(grid, ()))
                found[name] = Search(before.grid, (*before.parts, part.name))
    return tuple(sorted(found.values(), key=lambda search: search.grid.each))  # each builds on those before


def _given(part: Part, tables: Mapping[str, Any]) -> dict[str, Grid]:
    """Return the grids that a suite's `[grids.PART.FIELD]` tables put on a part."""
    grids = {}
    for name, table in tables.items():
        known = [entry.name for entry in fields(part)]
        if name not in known:
            raise unknown(f"field of {part.name}", name, known, "prunebench list")
        values = {"field": name, **table}
        grids[name] = construct(Grid, values, f"grids.{part.name}.{name}")
    return grids
