"""The figures of a board on its page, but for drawing them: what is in them, their files, their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from prunebench.results.board import GROUPS, Board, at, label_usage
from prunebench.results.rows import Result, file_name
from prunebench.results.statistics import summarize
from prunebench.results.work_tables import GIGA, counted, selecting, trained_on_gpu
from prunebench.system.sealed_json import canonical

FOLDER = "figures"  # beside the pages
MOST = 12  # methods in one figure
LOOK = 1  # bump it with the look of figures, so that they are drawn anew
ALWAYS = "random"
ACCURACY, RANKS, WORK = "Accuracy", "Ranks", "Work"  # the titles of the tables that have a figure
ENDINGS = {ACCURACY: "", RANKS: "-ranks", WORK: "-work"}  # of the files
GMAC, CPU_SECONDS = "GMAC", "CPU seconds"
Methods = list[list[Result]]  # the rows of each


@dataclass(frozen=True)
class Picture:
    """A figure of a board.

    table: the title of the table that it stands above.
    stem: of its file, unique on its page among the figures above such tables.
    digest: of all that is drawn. It is in the file, so that an outdated figure shows itself.
    caption: what it shows, in words.
    """

    table: str
    stem: str
    digest: str
    caption: str

    def file(self, suite: str) -> str:
        """Return the name of its file."""
        return f"{file_name(f'{suite}-{self.stem}{ENDINGS[self.table]}')}.svg"

    def current(self, suite: str, folder: Path) -> bool:
        """Whether its file is there, and shows what would be drawn today. folder: of pages."""
        path = folder / FOLDER / self.file(suite)
        return path.is_file() and self.digest.encode() in path.read_bytes()


def pictures(board: Board, stem: str) -> list[Picture]:
    """Return the figures of a board. None for values that the test split chose, or if no method has rows."""
    if board.rows[0].tuning == "oracle_test" or not board.methods(reference=False):
        return []
    return [*_accuracies(board, stem), *_ranks(board, stem), *_work(board, stem)]


def _accuracies(board: Board, stem: str) -> Iterator[Picture]:
    values = [
        [one.method, one.title, one.reference, one.label_fraction, one.ratio, one.seed, one.accuracy]
        for rows in drawn(board)
        for one in rows
    ]
    where = f"at {board.ratios[0]} % pruned, a dot for each seed" if _single(board) else "by ratio"
    caption = f"Test accuracy {where}. {choice(board)}".strip()
    yield Picture(ACCURACY, stem, _digest(board, values, choice(board)), caption)


def _ranks(board: Board, stem: str) -> Iterator[Picture]:
    """Yield the figure of ranks, if the seeds exclude a rank of some method."""
    found = {ratio: board.ranks(ratio) for ratio in board.ratios}
    if any((low, high) != (1, len(ranks)) for ranks in found.values() for _, low, high in ranks.values()):
        titles = {rows[0].method: rows[0].title for rows in board.methods(reference=False)}
        values = [[titles[name], name, *place] for ranks in found.values() for name, place in ranks.items()]
        caption = "The ranks that the seeds allow each method, by ratio."
        yield Picture(RANKS, stem, _digest(board, values), caption)


def _work(board: Board, stem: str) -> Iterator[Picture]:
    """Yield the figure of accuracies by work, if all methods counted it and it differs between some."""
    found = points(board)
    if len({point.costs[GMAC] for point in found}) > 1:
        caption = f"Test accuracy at {board.ratios[-1]} % pruned, by the work of the selection."
        values = [[*point[:3], dict(point.costs)] for point in found]
        yield Picture(WORK, stem, _digest(board, values), caption)


def _digest(board: Board, values: Any, *words: str) -> str:
    """Return the digest of a figure with these values, and these words beside those of every figure."""
    said = (LOOK, board.page.note, board.heading, board.ratios, *words)
    return hashlib.sha256(canonical([said, values]).encode()).hexdigest()[:16]


class Point(NamedTuple):
    """A method at one ratio.

    accuracy: mean over seeds, in percent.
    costs: what its selection takes, mean over seeds, by unit: GMAC of networks, and CPU seconds where no GPU
        worked.
    """

    method: str
    title: str
    accuracy: float
    costs: Mapping[str, float]


def points(board: Board) -> list[Point]:
    """Return the methods of a board at its most pruned ratio. [] unless the work of all of them is known."""
    cells = [[*at(rows, board.ratios[-1]).values()] for rows in board.methods(reference=False)]
    cells = [cell for cell in cells if cell]
    if not all(map(counted, cells)):
        return []
    units = {GMAC: ("multiply_adds", GIGA)}
    if not any(map(trained_on_gpu, cells)):
        units[CPU_SECONDS] = ("cpu_seconds", 1.0)
    return [
        Point(
            cell[0].method,
            cell[0].title,
            _average([row.accuracy for row in cell]),
            {
                name: _average([selecting(row, unit) / one for row in cell])
                for name, (unit, one) in units.items()
            },
        )
        for cell in cells
    ]


def frontier(points: Sequence[Point], unit: str) -> list[Point]:
    """Return the points that none beats at the same cost or a lower one, the cheapest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.costs[unit], -point.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def _average(values: Sequence[float]) -> float:
    return summarize(values).mean


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
    return _average([_average([row.accuracy for row in cell]) for cell in cells])


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
