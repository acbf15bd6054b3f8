"""What the seeds of a board support: ranks, intervals, smallest differences; where spread comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prunebench.results.board import Board, at, label_usage
from prunebench.results.cells import Between, Cell, Gap, Number, Row, Table, Text, columns, rows_of
from prunebench.results.rows import Result
from prunebench.results.statistics import mean_interval, mean_ranks, summarize, variance_components
from prunebench.suites.schema import RUNGS

SHOWN = "Smallest difference separated"


def resolution(board: Board) -> tuple[list[Row], list[str]]:
    """Return the line under a table of accuracies: the difference that seeds separate, and its notes."""
    cells: list[Cell] = []
    for ranking in board.rankings.values():
        found = ranking.comparison
        if found is None or math.isinf(found.resolution):
            cells.append(Gap())
            continue
        cells.append(Number(found.resolution, "points", footnotes=() if found.pooled else (1,)))
    notes = [*_inseparable(board), *_unranked(board)]
    if any(isinstance(cell, Number) for cell in cells):
        notes.insert(0, f"{SHOWN}: in points, between two ranked methods, if all pairs are compared.")
    if any(isinstance(cell, Number) and cell.footnotes for cell in cells):
        notes.append("[1] The methods scatter differently: half of the pairs need more, half less.")
    shown = any(isinstance(cell, Number) for cell in cells)
    return [Row([Text(SHOWN), Text("points"), *cells], reference=True)] if shown else [], notes


def _inseparable(board: Board) -> list[str]:
    """Return a sentence on the ratios whose seeds can separate nothing."""
    found = [r for r, one in board.rankings.items() if len(one.methods) > 1 and one.comparison is None]
    if not found:
        return []
    why = "a single seed shows no spread" if board.runs == 1 else "the seeds show no spread"
    return [f"At {', '.join(map(str, found))} % pruned no method is separated from another: {why}."]


def _unranked(board: Board) -> list[str]:
    """Return a sentence on the ratios at which methods were run, and none has the seeds to be ranked."""
    if board.rows[0].tuning == "oracle_test":
        return []
    methods = [rows for rows in board.methods(reference=False) if label_usage(rows[0]) != "full"]
    run = [ratio for ratio in board.ratios if any(at(rows, ratio) for rows in methods)]
    found = [ratio for ratio in run if not board.rankings[ratio].methods]
    if not found:
        return []
    where = "Nothing" if found == run else f"At {', '.join(map(str, found))} % pruned nothing"
    seeds = len(board.page.seeds)
    wanted = "its seed" if seeds == 1 else f"all {seeds} seeds"
    return [f"{where} is ranked, because no method without all labels has {wanted}."]


def ranks_table(board: Board) -> Table | None:
    """The ranks that the seeds allow each method, its tie group, and its mean rank over several ratios."""
    if all(ranking.comparison is None for ranking in board.rankings.values()):
        return None
    ranked = {name for ranking in board.rankings.values() for name in ranking.methods}
    means = _mean_ranks(board)
    body = []
    for rows in board.methods(reference=False):
        name = rows[0].method
        places = [ranking.place(name) for ranking in board.rankings.values()]
        mean = [means.get(name, Gap())] if means else []
        if name in ranked:
            body.append(Row([Text(rows[0].title), *places, *mean]))
    header = [*columns("method", ratios=board.ratios), *columns(*["mean rank"] if means else ())]
    notes = [
        "Ranks that the seeds allow, 1 the highest accuracy, among the cells that are ranked above. With "
        "95 % confidence all ranks of a column hold at once. In parentheses the tie group, where there are "
        "several: each of its methods is separated from each method of the next group."
    ]
    if means:
        notes.append(
            "Mean rank: of the mean accuracies over all ratios, among methods with all cells. It says "
            "nothing of chance."
        )
    return Table("Ranks", header, body, notes)


def _mean_ranks(board: Board) -> dict[str, Cell]:
    """Return the mean rank over several ratios of the methods that are ranked at all of them."""
    shared = set.intersection(*(set(ranking.methods) for ranking in board.rankings.values()))
    methods = [rows for rows in board.methods(reference=False) if rows[0].method in shared]
    if len(methods) < 2 or len(board.ratios) < 2:
        return {}
    ranks = mean_ranks([_means(board, rows) for rows in methods])
    return {
        rows[0].method: Number(rank, "rank", decimals=1) for rows, rank in zip(methods, ranks, strict=True)
    }


def _means(board: Board, rows: Sequence[Result]) -> list[float]:
    """Return the mean accuracy of a method at each ratio."""
    cells = (at(rows, ratio).values() for ratio in board.ratios)
    return [summarize([row.accuracy for row in cell]).mean for cell in cells]


def intervals_table(board: Board) -> Table | None:
    """Where the accuracy of each cell would lie over endless seeds."""
    body = []
    for rows in board.methods(reference=False):
        values = [[row.accuracy for row in at(rows, ratio).values()] for ratio in board.ratios]
        body.append(Row([Text(rows[0].title), *map(_interval, values)]))
    header = columns("method", ratios=board.ratios)
    notes = [
        "95 % t interval of the mean accuracy, for each cell alone. It speaks of other seeds on these "
        "images, not of other images. A cell whose seeds show no spread has none."
    ]
    known = any(isinstance(cell, Between) for row in body for cell in row.cells)
    return Table("Intervals", header, body, notes) if known else None


def _interval(values: Sequence[float]) -> Between | Gap:
    found = mean_interval(values) if values else None
    return Gap() if found is None else Between(max(found[0], 0.0), min(found[1], 100.0), "percent")


def components_table(board: Board) -> Table | None:
    """How much spread stages add, where some runs repeat all of them and others the later ones alone."""
    if board.rows[0].repeats != "pipeline":
        return None
    beside = {rung: board.beside(repeats=rung) for rung in RUNGS if rung != "pipeline"}
    rungs = ["pipeline", *(rung for rung, rows in beside.items() if rows)]
    if len(rungs) == 1:
        return None
    stages = _added(rungs)
    body = []
    for rows in board.methods(reference=False):
        found = [_components(rows, beside, stages, ratio) for ratio in board.ratios]
        if any(found):
            lines = {added: [_points(one, added) for one in found] for added in stages.values()}
            body += rows_of(rows[0].title, lines)
    header = columns("method", "stages", ratios=board.ratios)
    notes = [
        "Standard deviation in points that these stages add. The last line is that of runs which repeat only "
        "these stages. Each other is what runs that repeat its stages, too, spread more than those of the "
        "next line, in squares, and 0 if they spread less."
    ]
    return Table("Where the spread comes from", header, body, notes, keys=2) if body else None


def _added(rungs: Sequence[str]) -> dict[str, str]:
    """Return the stages that runs of each rung repeat, and those of the next do not. rungs: in order."""
    order = list(RUNGS)
    begins = [order.index(rung) for rung in rungs]
    ends = [*begins[1:], len(order)]
    names = [", ".join(list(RUNGS.values())[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    return dict(zip(rungs, names, strict=True))


def _components(
    rows: Sequence[Result], beside: Mapping[str, Sequence[Result]], stages: Mapping[str, str], ratio: int
) -> dict[str, float] | None:
    """Return the variance of stages from the rows of a method. None where a rung has fewer than two."""
    ladder = {}
    for rung, added in stages.items():
        again = [row for row in beside.get(rung, rows) if row.method == rows[0].method]
        ladder[added] = [row.accuracy for row in at(again, ratio).values()]
    return variance_components(ladder)


def _points(found: dict[str, float] | None, stages: str) -> Number | Gap:
    return Gap() if found is None else Number(math.sqrt(found[stages]), "points")
