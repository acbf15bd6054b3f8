"""CSV: a line for each value in any table, to be filtered and pivoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prunebench.results.cells import Alternatives, Cell, Gap, Number, PerRatio, Table
from prunebench.results.document import SETTING, Document
from prunebench.results.spelling import words
from prunebench.system import tables
from prunebench.system.escaping import plain

PLACE = ("table", "row", "detail", "column", "ratio")
VALUE = (
    "mean",
    "spread",
    "runs",
    "of",
    "rank",
    "low",
    "high",
    "group",
    "disputed",
    "unit",
    "verdict",
    "text",
)


def csv(documents: Sequence[Document]) -> str:
    """Return the cells of documents, a line each, numbers as exact as they are; gaps have no line.

    row, detail: the first column of a table, and the others that say what a row is. A single number is a
    mean without runs.
    """
    lines = (
        (document.suite, *(section.setting[name] for name in SETTING), *line)
        for document in documents
        for section in document.sections
        for table in section.tables
        for line in _lines(table)
    )
    return tables.written(("suite", *SETTING, *PLACE, *VALUE), ([*map(_entry, line)] for line in lines))


def _lines(table: Table) -> Iterator[tuple[object, ...]]:
    """Yield what stands in the columns of PLACE and VALUE."""
    for row in table.rows:
        name, *details = map(words, row.cells[: table.keys])
        for column, cell in list(zip(table.header, row.cells, strict=True))[table.keys :]:
            for ratio, one in _flat(cell, column.ratio):
                found = vars(one) | ({"mean": one.value} if isinstance(one, Number) else {})
                place = (table.title, name, ", ".join(details), column.name, ratio)
                yield *place, *(found.get(field) for field in VALUE)


def _flat(cell: Cell, ratio: int | None) -> Iterator[tuple[int | None, Cell]]:
    """Yield the single values in a cell, each with the ratio that it is about."""
    match cell:
        case Gap():
            return
        case Alternatives():
            yield from ((ratio, one) for one in cell.cells)
        case PerRatio():
            yield from (found for own, one in cell.cells for found in _flat(one, own))
        case _:
            yield ratio, cell


def _entry(value: object) -> str:
    return "" if value is None else plain(str(value))
