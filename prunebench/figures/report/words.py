"""What a board says, in a few sentences: who is best where, and where Random is better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prunebench.figures.report.ranks import ranks
from prunebench.results.board import Board, as_many_labels, at
from prunebench.results.rows import Result
from prunebench.results.separation import LEVEL
from prunebench.results.statistics import difference_p, holm, summarize
from prunebench.results.tables import BETTER, verdicts

Seeds = Mapping[int, Result]
Gaps = list[list[float]]  # for each method, a difference per seed


def summary(board: Board) -> list[str]:
    """Return sentences on a board, the most important first."""
    if board.rows[0].tuning == "oracle_test":
        return ["Values were chosen with true labels and the test split: nothing here is a result."]
    return [*_best(board), *_against_random(board), *_at_equal_labels(board)]


def _best(board: Board) -> Iterator[str]:
    """Yield who is best at each ratio, and how many others may be with other seeds."""
    ranked = {ratio: found for ratio in board.ratios if (found := ranks(board, ratio))}
    rows_of = {rows[0].method: rows for rows in board.methods(reference=False)}
    won: dict[str, dict[int, str]] = {}  # method -> ratio -> mean
    for ratio, found in ranked.items():
        best = next(iter(found))
        accuracies = [row.accuracy for row in at(rows_of[best], ratio).values()]
        won.setdefault(best, {})[ratio] = f"{summarize(accuracies).mean:.1f}"
    if not won:
        return
    phrases = [
        f"{rows_of[method][0].title} at {_joined(means)} % pruned ({_joined(means.values())} %)"
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


def _at_equal_labels(board: Board) -> Iterator[str]:
    """Yield a sentence on the methods that need labels and lose to Random on as many labels in all."""
    pairs = list(as_many_labels(board))
    gaps = {r: _gaps((at(rows, r), random[r]) for rows, random in pairs) for r in board.ratios}
    worse = {r: _worse(found) for r, found in gaps.items() if found}
    if worse:
        yield (
            f"Worse than Random on as many labels in all, of {_methods(max(map(len, gaps.values())))} with "
            "labels to select by: "
            f"{_by_ratio(worse)}."
        )
    elif pairs:
        yield "Random on as many labels as methods need in all was not run."


def _gaps(pairs: Iterable[tuple[Seeds, Seeds]]) -> Gaps:
    """Return by how many points rows are better than others of the same seeds, where there are such seeds."""
    found = []
    for rows, others in pairs:
        found.append([row.accuracy - others[seed].accuracy for seed, row in rows.items() if seed in others])
    return [values for values in found if values]


def _methods(count: int) -> str:
    return "1 method" if count == 1 else f"{count} methods"


def _worse(gaps: Gaps) -> str:
    """Return how many methods are worse, and how many of them clearly, as text."""
    below = [summarize(values).mean < 0 for values in gaps]
    corrected = holm([difference_p(values) for values in gaps])
    clearly = sum(worse and p < LEVEL for worse, p in zip(below, corrected, strict=True))
    return f"{sum(below)} ({clearly or 'none'} clearly)" if any(below) else "none"


def _by_ratio(counts: Mapping[int, object]) -> str:
    """Return the count of each ratio as text. Ratios of one count are named together."""
    found: dict[object, list[int]] = {}
    for ratio, count in counts.items():
        found.setdefault(count or "none", []).append(ratio)
    return "; ".join(f"{count} at {_joined(ratios)} %" for count, ratios in found.items())


def _joined(words: Iterable[object]) -> str:
    """Return words as a list in a sentence: 30, 70 and 90."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
