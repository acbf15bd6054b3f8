"""What the figures of a report show of the rows of a board. Its values become JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.figures import sources
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset
from prunebench.results.board import Board, at, at_one_ratio, by_seed, label_usage
from prunebench.results.rows import Result
from prunebench.results.statistics import summarize
from prunebench.results.work_tables import GIGA, counted, selecting, selection_seconds
from prunebench.system.escaping import plain

ALWAYS = ("random", "full")  # methods that every figure shows
Ranks = tuple[int, int, int]  # rank by mean accuracy, lowest and highest rank; 1 is the best
# What a selection costs, by its unit. The clock also counts what else its machine did.
WORK: Mapping[str, Callable[[Result], float]] = {
    "gmac": lambda row: selecting(row, "multiply_adds") / GIGA,
    "cpu_seconds": lambda row: selecting(row, "cpu_seconds"),
}
CLOCK: Mapping[str, Callable[[Result], float]] = {"seconds": selection_seconds}


@dataclass
class Measured:
    """What rows say of one method. Lists have an entry per ratio of the board, None where nothing is known.

    group: its use of labels, "none", "few" or "full"; or "reference".
    always: whether every figure shows it.
    chosen: whether figures show it until the reader chooses otherwise. Never with `always`.
    level: whether it stands at one ratio only, so that it is the same at every ratio.
    accuracy: mean in percent, standard deviation (None of a single run), and number of runs.
    labels: number of labels annotated before the selection, mean.
    costs: of the selection, mean, by unit. The units are those of `WORK` if all methods have it, else the
        seconds of the clock.
    ranks: as `Board.ranks`. None for a method that is not ranked.
    shares: percent of each class that is kept, mean over seeds, in the order of `Classes`.
    """

    title: str
    group: str
    always: bool
    chosen: bool
    level: bool
    accuracy: list[tuple[float, float | None, int] | None]
    labels: float
    costs: dict[str, list[float | None]]
    ranks: list[Ranks | None]
    shares: list[list[float] | None]


@dataclass
class Classes:
    """The classes of a board, the most frequent first.

    order: int [classes], their labels.
    sizes: int [classes], training images of each.
    names: of each, or their labels if the dataset is not there.
    """

    order: Array
    sizes: Array
    names: list[str]


def methods_of(board: Board) -> list[list[Result]]:
    """Return the rows of each method that figures show. Those of a Random matched to labels are left out."""
    references = [rows for rows in board.methods(reference=True) if rows[0].matched_to is None]
    return [*board.methods(reference=False), *references]


def classes_of(board: Board, dataset: Dataset | None, data: Path) -> Classes | None:
    """Return the classes of a board, or None if neither a row nor a dataset tells their sizes."""
    try:
        sizes = sources.truth_per_class(board, dataset, data)
    except PrunebenchError:
        return None
    order = np.argsort(-sizes, kind="stable")
    try:
        names = dataset.classes if dataset else ()
    except PrunebenchError:  # a folder of images that is not on this machine
        names = ()
    named = list(names) if len(names) == len(sizes) else [str(label) for label in range(len(sizes))]
    return Classes(order, sizes[order], [plain(named[label]) for label in order])


def measured(board: Board, classes: Classes | None) -> list[Measured]:
    """Return what the rows of a board say, for each method of `methods_of`."""
    methods = methods_of(board)
    ranked = [board.ranks(ratio) for ratio in board.ratios]
    chosen = _chosen(methods, ranked)
    costs = WORK if all(map(counted, methods)) else CLOCK
    return [
        Measured(
            title=plain(rows[0].title),
            group="reference" if rows[0].reference else label_usage(rows[0]),
            always=rows[0].method in ALWAYS,
            chosen=rows[0].method in chosen,
            level=_level(rows),
            accuracy=[_accuracy(_at(rows, ratio)) for ratio in board.ratios],
            labels=summarize([row.labels_selection for row in rows]).mean,
            costs={
                unit: [_mean(_at(rows, ratio), cost) for ratio in board.ratios]
                for unit, cost in costs.items()
            },
            ranks=[of_ratio.get(rows[0].method) for of_ratio in ranked],
            shares=[_shares(_at(rows, ratio), classes) for ratio in board.ratios],
        )
        for rows in methods
    ]


def _level(rows: Sequence[Result]) -> bool:
    return rows[0].reference and at_one_ratio(rows)


def _at(rows: Sequence[Result], ratio: int) -> list[Result]:
    """Return the rows of one ratio, one per seed. A reference of one ratio alone has them at every ratio."""
    return list((by_seed(rows) if _level(rows) else at(rows, ratio)).values())


def _chosen(methods: Iterable[Sequence[Result]], ranked: Iterable[Mapping[str, Ranks]]) -> set[str]:
    """Return the methods to begin with: the best of each use of labels, and the best of each ratio."""
    means: dict[str, dict[str, float]] = {}
    for rows in methods:
        if not rows[0].reference and rows[0].method not in ALWAYS:
            mean = summarize([row.accuracy for row in rows]).mean
            means.setdefault(label_usage(rows[0]), {})[rows[0].method] = mean
    best = {max(group, key=lambda name: group[name]) for group in means.values()}
    best |= {next(iter(of_ratio)) for of_ratio in ranked if of_ratio}
    return best - set(ALWAYS)


def _accuracy(rows: Sequence[Result]) -> tuple[float, float | None, int] | None:
    if not rows:
        return None
    found = summarize([row.accuracy for row in rows])
    spread = None if found.spread is None else round(found.spread, 3)
    return round(found.mean, 3), spread, found.count


def _mean(rows: Sequence[Result], value: Callable[[Result], float]) -> float | None:
    return round(summarize([value(row) for row in rows]).mean, 3) if rows else None


def _shares(rows: Sequence[Result], classes: Classes | None) -> list[float] | None:
    """Return the percent of each class that rows keep, mean over seeds."""
    if classes is None or not rows:
        return None
    kept = np.array([row.kept_per_class for row in rows]).mean(axis=0)[classes.order]
    shares = 100 * kept / np.maximum(classes.sizes, 1)
    return [round(share, 1) for share in shares.tolist()]
