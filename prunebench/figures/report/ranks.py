"""The ranks that a figure shows: those of the page's table."""

from __future__ import annotations

from prunebench.results.board import Board
from prunebench.results.cells import Between
from prunebench.results.statistics import summarize

Ranks = dict[str, list[int]]  # method -> rank by mean accuracy, lowest and highest rank; 1 is the best


def ranks(board: Board, ratio: int) -> Ranks:
    """Return the ranks of the methods that are ranked, the best first; {} for fewer than two.

    The lowest and the highest rank are those that the seeds allow. A single seed allows all of them.
    """
    means = {method: summarize([*runs.values()]).mean for method, runs in board.ranked(ratio).items()}
    if len(means) < 2:
        return {}
    found = {}
    for method in sorted(means, key=lambda name: -means[name]):
        rank = 1 + sum(mean > means[method] for mean in means.values())
        place = board.rankings[ratio].place(method)
        ends = (place.low, place.high) if isinstance(place, Between) else (1, len(means))
        found[method] = [rank, *map(int, ends)]
    return found
