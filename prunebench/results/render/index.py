"""The index of pages: what there is, how to read it, how to add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from prunebench.results.document import Document, Section
from prunebench.results.spelling import GAP
from prunebench.results.split import split
from prunebench.results.standing import Standing
from prunebench.system.escaping import markdown as safe

MADE = "Made by `prunebench leaderboard` from the rows in `results/`; do not edit."
HEADER = ("page", "dataset", "methods", "seeds", "cells", "certified", "verified", "may be first")
Guide = Callable[[str], str]  # the name of a document -> it, as a link where it is there


def index(documents: Sequence[Document], guide: Guide) -> str:
    """Return the index of the pages of documents as markdown."""
    return "\n\n".join(_blocks(documents, guide)) + "\n"


def _blocks(documents: Sequence[Document], guide: Guide) -> Iterator[str]:
    yield "# Leaderboard"
    yield MADE
    yield _table(documents)
    yield (
        "Methods: without references. Cells: a method at one ratio with one seed, whose row is there. May be "
        "first: at the most pruned ratio, the methods that the seeds allow the first rank, among complete "
        f"methods without all labels. Where there are several, the highest mean is no winner. {GAP} marks a "
        "board on which nothing is ranked."
    )
    yield "## How to read a page"
    yield "\n".join(f"- {line}" for line in _reading(guide))
    yield "## How to add a row"
    yield "\n".join(f"{number}. {line}" for number, line in enumerate(_adding(guide), 1))


def _table(documents: Sequence[Document]) -> str:
    from tabulate import tabulate

    body = [line for document in documents for line in _lines(document)]
    return tabulate(body, HEADER, tablefmt="github", disable_numparse=True)


def _lines(document: Document) -> Iterator[Sequence[str]]:
    """Yield a line for each board of a suite; the first one names the suite."""
    path, overview = next(iter(split(document).items()))
    page = f"[{safe(document.title)}]({quote(path)})"
    for section in overview.sections:
        if section.standing is not None:
            yield page, *_cells(section, section.standing)
            page = ""
    if page:
        yield page, *[""] * (len(HEADER) - 1)


def _cells(section: Section, found: Standing) -> Iterator[str]:
    board = safe(section.heading)
    yield f"[{board}]({quote(section.more)})" if section.more else board
    yield from map(str, (found.methods, found.seeds, found.cells, found.certified, found.verified))
    yield safe(found.first or GAP)


def _reading(guide: Guide) -> Iterator[str]:
    yield (
        "**Accuracy** is that of the last epoch on the clean test split, never the best epoch. Each cell is "
        f"a mean over seeds with its standard deviation: {guide('docs/protocol.md')}."
    )
    yield (
        "**Marks and ranks.** Bold and underlined cells are first and second where the seeds separate them "
        "from all others. Methods of one tie group are not separated. Means alone rank nothing: "
        f"{guide('docs/statistics.md')}."
    )
    yield (
        "**Equal labels.** Methods that annotate images before they select stand next to Random with as many "
        "labels in all. *In words* says where they lose."
    )
    yield (
        "**Reported, certified, verified.** A reported row is somebody's claim. A certified one was selected "
        "again without the truth. A verified one was made again by somebody else: "
        f"{guide('docs/verification.md')}."
    )
    yield (
        "**Demonstrations.** Recipe `tiny` trains small networks on small images. It says nothing about "
        "other datasets."
    )


def _adding(guide: Guide) -> Iterator[str]:
    yield "Run cells: `prunebench run --suite NAME --certify`. Rows go to `results/`, one line for each cell."
    yield "Make the pages, their figures and this index: `prunebench leaderboard --figures`."
    yield f"Open a pull request with all: {guide('CONTRIBUTING.md')}. No row is ever changed or removed."
