"""How many seeds the comparisons of a page need, from the spread of the rows that are there."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import combinations

from prunebench.errors import PrunebenchError, require
from prunebench.results.board import Board, Page, boards
from prunebench.results.separation import MOST_SEEDS, Noise, Pair, noise, seeds_needed
from prunebench.suites.cells import Cell

POWER = 0.8  # the share of boards that are to separate a pair
BEYOND = MOST_SEEDS + 1  # stands for any larger number of seeds


@dataclass(frozen=True)
class Detection:
    """How many seeds the pairs of one column need.

    board, ratio: those of the column.
    methods: number of methods that are ranked there.
    pairs: the seeds that each pair of chosen methods needs, by their names; BEYOND if they are too many, and
        None where no spread is known.
    """

    board: Board
    ratio: int
    methods: int
    pairs: dict[tuple[str, str], int | None]

    def lines(self, each: bool) -> list[list[object]]:
        """Return the column as rows of a table. each: one for each pair."""
        place = [self.board.rows[0].dataset, f"{self.ratio} %", self.methods, self.board.runs]
        if each:
            return [[*place, one, other, _spelled(seeds)] for (one, other), seeds in self.pairs.items()]
        needed = sorted(seeds for seeds in self.pairs.values() if seeds is not None)
        ends = (statistics.median_low(needed), needed[-1]) if needed else (None, None)
        return [[*place, *map(_spelled, ends)]]


def header(each: bool) -> list[str]:
    """Return the names of the columns of that table."""
    needed = ["method", "and", "seeds needed"] if each else ["seeds for half of the pairs", "for all pairs"]
    return ["dataset", "pruned", "methods", "seeds now", *needed]


def _spelled(seeds: int | None) -> str:
    """Return a number of seeds as a text; "?" where no spread is known."""
    if seeds is None:
        return "?"
    return str(seeds) if seeds < BEYOND else f"more than {MOST_SEEDS}"


def detections(page: Page, cells: Iterable[Cell], difference: float) -> list[Detection]:
    """Return what each column of a page needs to detect a difference.

    cells: those whose columns and methods are asked about.
    difference: of two means, in points.

    Raise PrunebenchError if it is not above 0, or if there is no column with two ranked methods.
    """
    require(difference > 0, "--detect", difference, "points above 0")
    asked: dict[tuple[str, str, str, str, int], dict[str, None]] = {}
    for cell in cells:
        where = (cell.dataset.name, cell.recipe_name, cell.tuning, cell.repeats, cell.ratio)
        asked.setdefault(where, {})[cell.method.name] = None
    found = []
    for board in boards(page):
        row = board.rows[0]
        for ratio in board.ratios:
            names = asked.get((row.dataset, row.recipe, row.tuning, row.repeats, ratio), {})
            if len(board.ranked(ratio)) > 1 and names:
                found.append(_detection(board, ratio, names, difference))
    if not found:
        raise PrunebenchError(
            f"no two methods of these cells of suite {page.suite!r} have rows to compare; run them with two "
            "seeds first, or name another --results"
        )
    return found


def _detection(board: Board, ratio: int, asked: Container[str], difference: float) -> Detection:
    """Return what the pairs of those methods that are asked about need, among all ranked at a ratio."""
    column = board.ranked(ratio)
    spread = noise([*column.values()])
    chosen = [(index, name) for index, name in enumerate(column) if name in asked]
    pairs = {
        (one, other): _needed(spread, (first, second), difference)
        for (first, one), (second, other) in combinations(chosen, 2)
    }
    return Detection(board, ratio, len(column), pairs)


def _needed(spread: Noise | None, pair: Pair, difference: float) -> int | None:
    """Return how many seeds a pair needs. BEYOND: too many. None: its runs show no spread."""
    if spread is None or not spread.variances[[*pair]].any():
        return None
    return seeds_needed(spread, pair, difference, POWER) or BEYOND
