"""How people read a cell, whatever the format: as words of one line, neither escaped nor marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from prunebench.results.cells import (
    Alternatives,
    Between,
    Cell,
    Column,
    Difference,
    Gap,
    Measured,
    Number,
    OverRuns,
    PerRatio,
    Row,
    Table,
    Text,
)

GAP = "·"
K = TypeVar("K", bound=tuple[Any, ...])
Mark = tuple[str, str]  # what stands before and after


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _classes(value: float) -> str:
    # Cut, not rounded: 0.66. Of large numbers only the decimals are cut.
    return f"{value:g}"[:4].rstrip(".") if value < 100 else str(int(value))


UNITS: Mapping[str, Callable[[float], str]] = {  # how exact a number is shown; others in six digits at most
    "labels": "{:.0f}".format,
    "images": "{:.0f}".format,
    "seconds": _seconds,
    "hours": "{:.3g}".format,
    "GMAC": "{:.3g}".format,
    "classes": _classes,
    "share": "{:.0%}".format,
    "percent": "{:.1f}".format,
    "points": "{:.1f}".format,
    "p": "{:.3f}".format,
}


def spelled(cell: Cell) -> str:
    """Return the words of a cell."""
    match cell:
        case Gap():
            return GAP
        case Text():
            return "" if cell.again else cell.text + _footnotes(cell)
        case Number():
            return _number(cell) + ("" if cell.of is None else f" of {cell.of}") + _footnotes(cell)
        case Measured():
            disputed = " (rows disagree)" if cell.disputed else ""
            return f"{cell.mean:.1f}{_spread(cell)}{disputed}{_missing(cell)}"
        case Difference():
            mean = round(cell.mean, 1) + 0.0  # no negative zero
            verdict = f", {cell.verdict}" if cell.verdict else ""
            return f"{mean:+.1f}{_spread(cell)}{_missing(cell)}{verdict}"
        case Between():
            return _between(cell)
        case Alternatives():
            return " or ".join(map(spelled, cell.cells))
        case PerRatio():
            return " / ".join(spelled(one) for _, one in cell.cells)


def words(cell: Cell) -> str:
    """Return the words of a cell, also where those of the row above are not repeated; without footnotes."""
    return cell.text if isinstance(cell, Text) else spelled(cell)


def _number(cell: Number) -> str:
    if cell.decimals is not None:
        return f"{cell.value:.{cell.decimals}f}"
    return UNITS.get(cell.unit, "{:g}".format)(cell.value)


def _spread(cell: OverRuns) -> str:
    return "" if cell.spread is None else f" ± {cell.spread:.1f}"


def _between(cell: Between) -> str:
    spell = UNITS.get(cell.unit, "{:g}".format)
    ends = dict.fromkeys((spell(cell.low), spell(cell.high)))  # once if they are equal
    return " to ".join(ends) + ("" if cell.group is None else f" ({cell.group})")


def _missing(cell: OverRuns) -> str:
    if cell.of is None:
        return ""
    return f" ({cell.runs} of {cell.of} seeds)" if cell.runs <= cell.of else f" ({cell.runs} seeds)"


def _footnotes(cell: Text | Number) -> str:
    return "".join(f" [{number}]" for number in cell.footnotes)


def heading(column: Column) -> str:
    """Return the words above a column."""
    if column.ratio is not None:
        return f"{column.ratio} % pruned"
    return f"{column.name} at {' / '.join(map(str, column.ratios))}" if column.ratios else column.name


def marked(row: Row, escaped: Callable[[Cell], str], marks: Mapping[str, Mark]) -> list[str]:
    """Return the words of a row's cells, between the marks of what stands out: best, second, reference.

    escaped: spells a cell as the format needs it. marks: what the format has for these, as far as it does.
    """
    found = []
    for place, cell in enumerate(row.cells):
        rank = cell.rank if isinstance(cell, Measured) else None
        kind = "reference" if row.reference and place == 0 else {1: "best", 2: "second"}.get(rank or 0, "")
        before, after = marks.get(kind, ("", ""))
        found.append(f"{before}{escaped(cell)}{after}")
    return found


def explained(table: Table, escaped: Callable[[str], str], best: str, second: str) -> list[str]:
    """Return the notes of a table. If its cells are ranked, the first note also says what marks mean.

    escaped: spells a note as the format needs it.
    best, second: the names of the format's marks, as it spells them.
    """
    lines = [*map(escaped, table.notes)]
    if table.ranked:
        meaning = (
            f"{best}: best, {second}: second, among {escaped(table.ranked)}, where the seeds separate it "
            f"from all others. {escaped(GAP)} marks a cell without a result; references are never ranked."
        )
        lines[:1] = [" ".join([*lines[:1], meaning])]
    return lines


def told_apart(labelers: Iterable[K]) -> dict[K, str]:
    """Return what labelers are called: by title, or by their settings if others would look the same.

    labelers: of each its title, what else is shown of it, and its settings.
    """
    found = [*labelers]
    alike = Counter(one[:-1] for one in found)
    return {one: one[0] if alike[one[:-1]] == 1 else one[-1] for one in found}
