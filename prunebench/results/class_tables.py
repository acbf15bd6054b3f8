"""Accuracy class by class, as a mean over classes and of the worst of them."""

from __future__ import annotations

from collections.abc import Callable

from prunebench.results.board import Board, at, measured
from prunebench.results.cells import Row, Table, Text, columns
from prunebench.results.rows import Result

WORST = (
    "Recall in percent of the worst tenth of the classes of each run, one class at least; mean ± standard "
    "deviation over seeds. Which classes these are differs between runs."
)
BALANCED = "Recall in percent, mean over all classes of the test split; mean ± standard deviation over seeds."


def worst_classes_table(board: Board) -> Table:
    """The recall of the worst tenth of classes, by method and ratio."""
    return _table(board, "Worst tenth of classes", lambda row: row.worst_decile_recall, WORST)


def balanced_table(board: Board) -> Table | None:
    """The mean recall over classes. None if it is the accuracy, as where classes have one size."""
    if all(round(row.balanced_accuracy - row.accuracy, 6) == 0 for row in board.rows):
        return None
    return _table(board, "Balanced accuracy", lambda row: row.balanced_accuracy, BALANCED)


def _table(board: Board, title: str, value: Callable[[Result], float], note: str) -> Table:
    body = []
    for rows in board.in_columns():
        cells = [measured(at(rows, ratio), board, value) for ratio in board.ratios]
        body.append(Row([Text(rows[0].title), *cells], reference=rows[0].reference))
    return Table(title, columns("method", ratios=board.ratios), body, [note])
