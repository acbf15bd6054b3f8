"""The figures on the pages of the leaderboard: drawn where they are missing or outdated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.figures import dots, lines
from prunebench.figures.style import for_pages
from prunebench.results.board import Board, boards, stems
from prunebench.results.document import Document
from prunebench.results.picture import ACCURACY, FOLDER, RANKS, WORK, Picture, choice, drawn
from prunebench.runs.pages import page_of
from prunebench.system.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(document: Document, folder: Path, missing: bool) -> Iterator[Path]:
    """Draw the outdated figures of a page, and yield their paths.

    folder: of pages.
    missing: whether those that are not there are drawn, too.
    """
    pictures = [one for section in document.sections for one in section.pictures]
    wanted = [one for one in pictures if _wanted(one, document.suite, folder, missing)]
    if not wanted:
        return
    found = boards(page_of(document.suite, folder))
    by_stem = dict(zip(stems(found), found, strict=True))
    for picture in wanted:
        path = folder / FOLDER / picture.file(document.suite)
        figure = FIGURES[picture.table](by_stem[picture.stem])
        replace_file(path, for_pages(figure, picture.digest), "--results")
        yield path


def _wanted(picture: Picture, suite: str, folder: Path, missing: bool) -> bool:
    there = (folder / FOLDER / picture.file(suite)).is_file()
    return (there or missing) and not picture.current(suite, folder)


def _accuracy(board: Board) -> Figure:
    """Return the accuracies of the methods that a page shows as a figure."""
    rows = [row for rows in drawn(board) for row in rows]
    return lines.accuracy(Board(replace(board.page, rows=rows), rows), choice(board))


FIGURES: Mapping[str, Callable[[Board], Figure]] = {
    ACCURACY: _accuracy,
    RANKS: dots.ranks,
    WORK: dots.work,
}
