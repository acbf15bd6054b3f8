"""How a board stands: how much was run, who vouches for it, and who may be first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from prunebench.results.board import Board, at
from prunebench.results.cells import Between
from prunebench.results.statistics import summarize


@dataclass(frozen=True)
class Standing:
    """A board in numbers.

    methods: how many, without references. seeds: how many most cells have.
    cells: how many have a row; certified, verified: how many of them have such a row.
    first: in words, who may be first at the most pruned ratio. "": nobody is ranked.
    """

    methods: int
    seeds: int
    cells: int
    certified: int
    verified: int
    first: str


def standing(board: Board) -> Standing:
    """Return how a board stands."""
    confirmed = board.rows if board.page.verified else []  # to hash every row takes seconds
    return Standing(
        methods=len(board.methods(reference=False)),
        seeds=_seeds(board),
        cells=len({row.cell for row in board.rows}),
        certified=len({row.cell for row in board.rows if row.certified}),
        verified=len({row.cell for row in confirmed if row.id in board.page.verified}),
        first=_first(board),
    )


def _seeds(board: Board) -> int:
    """Return how many seeds most cells of methods have, of equally many the larger number."""
    counts = Counter(
        len(cell)
        for rows in board.methods(reference=False)
        for ratio in board.ratios
        if (cell := at(rows, ratio))
    )
    return max(counts, key=lambda seeds: (counts[seeds], seeds), default=0)


def _first(board: Board) -> str:
    """Return who may be first at the most pruned ratio at which methods are ranked."""
    ratio = max((ratio for ratio in board.ratios if len(board.ranked(ratio)) > 1), default=None)
    if ratio is None:
        return ""
    means = {method: summarize([*runs.values()]).mean for method, runs in board.ranked(ratio).items()}
    highest = max(means, key=lambda method: means[method])
    titles = {rows[0].method: rows[0].title for rows in board.methods(reference=False)}
    places = [board.rankings[ratio].place(method) for method in means]
    first = sum(not isinstance(place, Between) or place.low == 1 for place in places)
    best = f"{titles[highest]} ({means[highest]:.1f} %)"
    if first == 1:
        return f"at {ratio} %: {best}"
    return f"at {ratio} %: {first} of {len(means)} methods; highest mean: {best}"
