"""Markdown: the pages of the leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from prunebench.results import losses
from prunebench.results.cells import Cell, Table
from prunebench.results.document import Document
from prunebench.results.picture import FOLDER, Picture
from prunebench.results.spelling import explained, heading, marked, spelled
from prunebench.system.escaping import markdown as safe

MARKS = {"best": ("**", "**"), "second": ("<u>", "</u>"), "reference": ("*", "*")}


def markdown(documents: Sequence[Document], up: str = "") -> str:
    """Return documents as pages of markdown, one after another.

    up: from the folder of the page to that of all pages, "" or "../".
    """
    return "".join("\n\n".join(_blocks(document, up)) + "\n" for document in documents)


def made_from(suite: str) -> str:
    """Return the line by which a page is known to be made, not written."""
    return f"Made by `prunebench leaderboard` from the rows in `results/{safe(suite)}/`; do not edit."


def _blocks(document: Document, up: str) -> Iterator[str]:
    yield f"# {safe(document.title)}"
    if document.note:
        yield f"> {safe(document.note)}"
    yield made_from(document.suite)
    for section in document.sections:
        yield f"## {safe(section.heading)}"
        if section.warning:
            yield f"> {safe(section.warning)}"
        yield section.facts
        images = {one.table: _image(document, one, up) for one in section.pictures}
        for table in section.tables[:1]:
            yield from _table(table, images)
        if section.words:
            yield from ("### In words", _listed(section.words), losses.NOTE)
        for table in section.tables[1:]:
            yield from _table(table, images)
        if section.more:
            yield f"[All tables of this dataset]({quote(up + section.more)})"
    if document.remarks:
        yield "## Remarks"
        yield _listed(document.remarks)


def _image(document: Document, picture: Picture, up: str) -> str:
    path = f"{up}{FOLDER}/{picture.file(document.suite)}"
    return f"![{safe(picture.caption)}]({quote(path)})"


def _table(table: Table, images: Mapping[str, str]) -> Iterator[str]:
    """Yield a table below the image of its title, if there is one."""
    yield f"### {table.title}"
    if table.title in images:
        yield images[table.title]
    yield from (grid(table), *notes(table))


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {safe(line)}" for line in lines)


def grid(table: Table) -> str:
    """Return header and rows of a table: best bold, second underlined, references in italics."""
    from tabulate import tabulate

    body = [marked(row, _words, MARKS) for row in table.rows]
    return tabulate(body, [*map(heading, table.header)], tablefmt="github", disable_numparse=True)


def notes(table: Table) -> list[str]:
    """Return the notes of a table, with the meaning of its marks."""
    return explained(table, safe, "Bold", "underlined")


def _words(cell: Cell) -> str:
    return safe(spelled(cell))
