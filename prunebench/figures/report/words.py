"""What a board says, in a few sentences: who is best where, and who beats Random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prunebench.results.board import Board, at
from prunebench.results.losses import joined
from prunebench.results.statistics import summarize
from prunebench.results.tables import BETTER, verdicts


def summary(board: Board) -> list[str]:
    """Return sentences on a board, the most important first."""
    if board.rows[0].tuning == "oracle_test":
        return ["Values were chosen with true labels and the test split: nothing here is a result."]
    return [*_best(board), *_against_random(board)]


def _best(board: Board) -> Iterator[str]:
    """Yield who is best at each ratio, and how many others may be with other seeds."""
    ranked = {ratio: found for ratio in board.ratios if (found := board.ranks(ratio))}
    rows_of = {rows[0].method: rows for rows in board.methods(reference=False)}
    won: dict[str, dict[int, str]] = {}  # method -> ratio -> mean
    for ratio, found in ranked.items():
        best = next(iter(found))
        accuracies = [row.accuracy for row in at(rows_of[best], ratio).values()]
        won.setdefault(best, {})[ratio] = f"{summarize(accuracies).mean:.1f}"
    if not won:
        return
    phrases = [
        f"{rows_of[method][0].title} at {joined(means)} % pruned ({joined(means.values())} %)"
        for method, means in won.items()
    ]
    rivals = {ratio: sum(low == 1 for _, low, _ in found.values()) - 1 for ratio, found in ranked.items()}
    yield (
        f"Best without all labels: {'; '.join(phrases)}. "
        f"Others that other seeds may put first: {_by_ratio(rivals)}."
    )


def _against_random(board: Board) -> Iterator[str]:
    """Yield a sentence on the methods without all labels that beat Random on as many images."""
    ranked = {ratio: {*board.ranked(ratio)} for ratio in board.ratios}
    columns = {ratio: methods - {"random"} for ratio, methods in ranked.items() if "random" in methods}
    most = max(map(len, columns.values()), default=0)
    if not most:
        return
    better = {
        ratio: sum(verdicts(board, ratio).get(method) == BETTER for method in methods)
        for ratio, methods in columns.items()
    }
    yield (
        f"Clearly better than Random on as many images, of {_methods(most)} without all labels: "
        f"{_by_ratio(better)}."
    )


def _methods(count: int) -> str:
    return "1 method" if count == 1 else f"{count} methods"


def _by_ratio(counts: Mapping[int, object]) -> str:
    """Return the count of each ratio as text. Ratios of one count are named together."""
    found: dict[object, list[int]] = {}
    for ratio, count in counts.items():
        found.setdefault(count or "none", []).append(ratio)
    return "; ".join(f"{count} at {joined(ratios)} %" for count, ratios in found.items())
