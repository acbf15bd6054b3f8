"""Plain text: the tables of a page for a terminal, best and second marked by words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prunebench.results.cells import Cell, Table
from prunebench.results.document import Document
from prunebench.results.spelling import explained, heading, marked, spelled
from prunebench.system.escaping import plain

MARKS = {"best": ("", " (1st)"), "second": ("", " (2nd)")}


def text(documents: Sequence[Document]) -> str:
    """Return the tables of documents, without what pages say of their settings."""
    return "\n\n".join(block for document in documents for block in _blocks(document)) + "\n"


def _blocks(document: Document) -> Iterator[str]:
    if document.note:
        yield plain(document.note)
    for section in document.sections:
        yield plain(section.heading)
        for table in section.tables:
            yield from (f"{table.title}\n{_grid(table)}", *explained(table, plain, "1st", "2nd"))
    yield from map(plain, document.remarks)


def _grid(table: Table) -> str:
    from tabulate import tabulate

    body = [marked(row, _words, MARKS) for row in table.rows]
    return tabulate(body, [*map(heading, table.header)], tablefmt="simple", disable_numparse=True)


def _words(cell: Cell) -> str:
    return plain(spelled(cell))
