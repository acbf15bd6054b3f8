"""What a table holds: values, and what they are values of. How they look is up to `spelling` and formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from prunebench.results.statistics import summarize


@dataclass(frozen=True)
class Text:
    """Words. again: they stand in the row above, and people are shown them there alone.

    footnotes: the numbers of the notes below the table that concern them.
    """

    text: str
    again: bool = False
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gap:
    """No result; never averaged over."""


@dataclass(frozen=True)
class Number:
    """One number, which is shown without a spread.

    unit: labels, images, steps, epochs, trainings, seconds, hours, GPU-hours, GMAC (10^9 multiply-adds),
    classes, percent, points, rank, p, share (of 1), nats, correlation (in -1..1), or value, of a field. of:
    how many there are of the unit. decimals: those to show; None: what the unit has. footnotes: as of `Text`.
    """

    value: float
    unit: str
    of: int | None = None
    decimals: int | None = None
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True)
class OverRuns:
    """A mean over runs that differ in their seed. spread: sample standard deviation; None of a single run.

    of: how many runs the suite asks for, where some of them are missing, or other cells have, where this one
    has as many as the suite asks for; None where it has as many as others.
    """

    mean: float
    spread: float | None
    runs: int
    of: int | None = None
    unit: str = "percent"

    @classmethod
    def over(cls, values: Sequence[float], **fields: Any) -> Self:
        """Return the mean over at least one value."""
        found = summarize(values)
        return cls(found.mean, found.spread, found.count, **fields)


@dataclass(frozen=True)
class Measured(OverRuns):
    """What runs measured. rank: 1 the best and 2 the second, where the runs leave it no other rank.

    disputed: rows of one run do not agree.
    """

    rank: int | None = None
    disputed: bool = False


@dataclass(frozen=True)
class Difference(OverRuns):
    """How much more one thing is than another. verdict: whether chance would do, in words."""

    unit: str = "points"
    verdict: str | None = None


@dataclass(frozen=True)
class Between:
    """Where a number lies, both ends included: an interval of a mean, or the ranks that runs allow.

    unit: percent or rank. group: of ranks, the number of the tie group.
    """

    low: float
    high: float
    unit: str
    group: int | None = None


@dataclass(frozen=True)
class Alternatives:
    """Values of which each holds in some run."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class PerRatio:
    """A value for each ratio, in percent pruned."""

    cells: tuple[tuple[int, Cell], ...]


Cell = Text | Gap | Number | Measured | Difference | Between | Alternatives | PerRatio


@dataclass(frozen=True)
class Column:
    """What the cells of a column are.

    ratio: the percentage pruned that all of them are about. ratios: those of a column of `PerRatio`, where
    its heading names them.
    """

    name: str
    ratio: int | None = None
    ratios: tuple[int, ...] = ()


def columns(*names: str, ratios: Sequence[int] = ()) -> list[Column]:
    """Return columns of these names, then one for each ratio."""
    return [*map(Column, names), *(Column("", ratio) for ratio in ratios)]


@dataclass(frozen=True)
class Row:
    """A line of a table, a cell for each column. reference: it is shown and never ranked."""

    cells: Sequence[Cell]
    reference: bool = False


def rows_of(title: str, lines: Mapping[str, Sequence[Cell]], reference: bool = False) -> list[Row]:
    """Return several rows about one thing: its title, which people are shown once, a name, and the cells.

    lines: the cells of each row, by its name.
    """
    return [
        Row([Text(title, again=position > 0), Text(name), *cells], reference)
        for position, (name, cells) in enumerate(lines.items())
    ]


@dataclass(frozen=True)
class Table:
    """A titled table.

    notes: lines of explanation below.
    keys: how many first columns say what a row is.
    ranked: which of its cells are ranked, in words. "": none.
    """

    title: str
    header: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=list)
    keys: int = 1
    ranked: str = ""
