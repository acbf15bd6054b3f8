"""The figure of a board on its page, but for drawing it: which methods are in it, its file, its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prunebench.results.board import GROUPS, Board, at, label_usage
from prunebench.results.rows import Result, file_name
from prunebench.results.statistics import summarize
from prunebench.system.sealed_json import canonical

FOLDER = "figures"  # beside the pages
MOST = 12  # methods in one figure
LOOK = 1  # bump it with the look of figures, so that they are drawn anew
ALWAYS = "random"
Methods = list[list[Result]]  # the rows of each


@dataclass(frozen=True)
class Picture:
    """The figure of a board.

    stem: of its file, unique on its page.
    digest: of all that is drawn. It is in the file, so that an outdated figure shows itself.
    caption: what it shows, in words.
    """

    stem: str
    digest: str
    caption: str

    def file(self, suite: str) -> str:
        """Return the name of its file."""
        return f"{file_name(f'{suite}-{self.stem}')}.svg"

    def current(self, suite: str, folder: Path) -> bool:
        """Whether its file is there, and shows what would be drawn today. folder: of pages."""
        path = folder / FOLDER / self.file(suite)
        return path.is_file() and self.digest.encode() in path.read_bytes()


def picture(board: Board, stem: str) -> Picture | None:
    """Return the figure of a board. None for values that the test split chose, or if no method has rows."""
    if board.rows[0].tuning == "oracle_test" or not board.methods(reference=False):
        return None
    page = board.page
    said = (LOOK, page.note, board.heading, board.ratios, choice(board))
    values = [
        [one.method, one.title, one.reference, one.label_fraction, one.ratio, one.seed, one.accuracy]
        for rows in drawn(board)
        for one in rows
    ]
    digest = hashlib.sha256(canonical([said, values]).encode()).hexdigest()[:16]
    where = f"at {board.ratios[0]} % pruned, a dot for each seed" if _single(board) else "by ratio"
    return Picture(stem, digest, f"Test accuracy {where}. {choice(board)}".strip())


def _single(board: Board) -> bool:
    """Whether a board has one ratio. Its figure has a line for each method, so that all fit."""
    return len(board.ratios) == 1


def drawn(board: Board) -> Methods:
    """Return the rows of the methods that are drawn, all images included."""
    every = [rows for rows in board.methods(reference=True) if rows[0].method == "full"]
    return [*_chosen(board), *every]


def choice(board: Board) -> str:
    """Return in words which methods are drawn, "" if all of them are."""
    methods = board.methods(reference=False)
    if _single(board) or len(methods) <= MOST:
        return ""
    return (
        f"Of {len(methods)} methods: Random, and of each use of labels the {_each(board)} with the highest "
        "mean accuracy over the ratios."
    )


def _chosen(board: Board) -> Methods:
    """Return the methods that are drawn, without references."""
    methods = board.methods(reference=False)
    if _single(board) or len(methods) <= MOST:
        return methods
    best = {rows[0].method for group in _groups(board).values() for rows in _best(group, board)}
    return [rows for rows in methods if rows[0].method in {ALWAYS, *best}]


def _best(group: Methods, board: Board) -> Methods:
    """Return as many methods of a group as are drawn, by mean accuracy over the ratios.

    Those without a cell at some ratio are left out.
    """
    whole = [rows for rows in group if all(at(rows, ratio) for ratio in board.ratios)]
    return sorted(whole, key=lambda rows: -_mean(rows, board))[: _each(board)]


def _mean(rows: Sequence[Result], board: Board) -> float:
    cells = (at(rows, ratio).values() for ratio in board.ratios)
    return summarize([summarize([row.accuracy for row in cell]).mean for cell in cells]).mean


def _groups(board: Board) -> dict[str, Methods]:
    """Return the methods by their use of labels, without the one that is always drawn."""
    groups: dict[str, Methods] = {usage: [] for usage in GROUPS}
    for rows in board.methods(reference=False):
        if rows[0].method != ALWAYS:
            groups[label_usage(rows[0])].append(rows)
    return {usage: methods for usage, methods in groups.items() if methods}


def _each(board: Board) -> int:
    """Return how many methods of each use of labels are drawn."""
    return (MOST - 1) // len(_groups(board))
