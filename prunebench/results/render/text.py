"""Plain text: the tables of a page for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prunebench.results.cells import Table
from prunebench.results.document import Document
from prunebench.results.spelling import explained, heading, spelled
from prunebench.system.escaping import plain


def text(documents: Sequence[Document]) -> str:
    """Return the tables of documents, without marks and without what pages say of their settings."""
    return "\n\n".join(block for document in documents for block in _blocks(document)) + "\n"


def _blocks(document: Document) -> Iterator[str]:
    if document.note:
        yield plain(document.note)
    for section in document.sections:
        yield plain(section.heading)
        for table in section.tables:
            yield from (f"{table.title}\n{_grid(table)}", *explained(table, plain))
    yield from map(plain, document.remarks)


def _grid(table: Table) -> str:
    from tabulate import tabulate

    body = [[plain(spelled(cell)) for cell in row.cells] for row in table.rows]
    return tabulate(body, [*map(heading, table.header)], tablefmt="simple", disable_numparse=True)
