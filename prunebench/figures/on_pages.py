"""The figures on the pages of the leaderboard: drawn where they are missing or outdated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.figures import lines
from prunebench.figures.style import for_pages
from prunebench.results.board import Board, boards, stems
from prunebench.results.document import Document
from prunebench.results.picture import FOLDER, Picture, choice, drawn
from prunebench.runs.pages import page_of
from prunebench.system.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(document: Document, folder: Path, missing: bool) -> Iterator[Path]:
    """Draw the outdated figures of a page, and yield their paths.

    folder: of pages.
    missing: whether those that are not there are drawn, too.
    """
    pictures = [section.picture for section in document.sections if section.picture]
    wanted = {one.stem: one for one in pictures if _wanted(one, document.suite, folder, missing)}
    if not wanted:
        return
    found = boards(page_of(document.suite, folder))
    for stem, board in zip(stems(found), found, strict=True):
        if stem in wanted:
            path = folder / FOLDER / wanted[stem].file(document.suite)
            replace_file(path, for_pages(_figure(board), wanted[stem].digest), "--results")
            yield path


def _wanted(picture: Picture, suite: str, folder: Path, missing: bool) -> bool:
    there = (folder / FOLDER / picture.file(suite)).is_file()
    return (there or missing) and not picture.current(suite, folder)


def _figure(board: Board) -> Figure:
    """Return the accuracies of the methods that a page shows as a figure."""
    rows = [row for rows in drawn(board) for row in rows]
    return lines.accuracy(Board(replace(board.page, rows=rows), rows), choice(board))
