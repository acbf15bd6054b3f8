r"""LaTeX: tables to be taken into a paper; they need \usepackage{booktabs}."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prunebench.results.cells import Cell, OverRuns, Table
from prunebench.results.document import Document
from prunebench.results.spelling import explained, heading, marked, spelled
from prunebench.system.escaping import latex as safe

MARKS = {"best": (r"\textbf{", "}"), "second": (r"\underline{", "}"), "reference": (r"\emph{", "}")}


def latex(documents: Sequence[Document]) -> str:
    """Return the tables of documents as floats, with the words around them as paragraphs."""
    return "\n\n".join(block for document in documents for block in _blocks(document)) + "\n"


def _blocks(document: Document) -> Iterator[str]:
    yield rf"\section*{{{safe(document.title)}}}"
    if document.note:
        yield safe(document.note)
    for section in document.sections:
        yield rf"\subsection*{{{safe(section.heading)}}}"
        yield from map(safe, filter(None, (section.warning, section.facts)))
        yield from (_float(table, section.heading) for table in section.tables)
        yield from map(safe, section.words)
    yield from map(safe, document.remarks)


def _float(table: Table, where: str) -> str:
    """Return a table with its notes: best bold, second underlined, references emphasized."""
    lines = (
        r"\begin{table}",
        rf"\caption{{{safe(table.title)}: {safe(where)}}}",
        rf"\begin{{tabular}}{{{'l' * table.keys}{'c' * (len(table.header) - table.keys)}}}",
        r"\toprule",
        _line(safe(heading(column)) for column in table.header),
        r"\midrule",
        *(_line(marked(row, _words, MARKS)) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par {note}" for note in explained(table, safe, r"\textbf{Bold}", r"\underline{underlined}")),
        r"\end{table}",
    )
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _words(cell: Cell) -> str:
    found = spelled(cell)
    return safe(found.replace("-", "−") if isinstance(cell, OverRuns) else found)  # a minus, no hyphen
