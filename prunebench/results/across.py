"""Methods over several datasets: mean ranks, and whether they beat Random on other datasets, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunebench.results.board import DEMONSTRATION, Board
from prunebench.results.cells import Cell, Difference, Gap, Number, Row, Table, Text, columns
from prunebench.results.separation import LEVEL
from prunebench.results.statistics import flips_needed, holm, mean_ranks, sign_flip, summarize

FEWEST = 5  # datasets, none a view of another, from which an overall rank says something


def groups(found: Sequence[Board]) -> list[list[Board]]:
    """Return the boards of several datasets under one recipe, repeats and tuning, where there are enough.

    A recipe has other values for each dataset, so its name counts here, and what was changed of it.
    """
    alike: dict[tuple[object, ...], list[Board]] = {}
    for board in found:
        row = board.rows[0]
        setting = (row.recipe, board.recipe_changes, row.repeats, row.tuning, row.protocol_version)
        alike.setdefault(setting, []).append(board)
    return [
        boards
        for boards in alike.values()
        if boards[0].rows[0].recipe != DEMONSTRATION and len(_families(boards)) >= FEWEST
    ]


def _families(boards: Sequence[Board]) -> dict[str, list[Board]]:
    """Return boards by their dataset, its views together."""
    families: dict[str, list[Board]] = {}
    for board in boards:
        name = board.rows[0].dataset
        families.setdefault(board.page.roots.get(name, name), []).append(board)
    return families


def across_table(boards: Sequence[Board]) -> Table | None:
    """Mean ranks over datasets and ratios, and differences to Random, a dataset with its views as one."""
    means = [_means(one) for one in _families(boards).values()]
    shared = [name for name in means[0] if all(name in family for family in means)]
    if len(shared) < 2:
        return None
    titles = {rows[0].method: rows[0].title for board in boards for rows in board.methods(reference=False)}
    ranks = mean_ranks([[value for family in means for value in family[name]] for name in shared])
    differences = {
        name: [_difference(family[name], family["random"]) for family in means]
        for name in shared
        if name != "random" and "random" in shared
    }
    corrected, note = _tested(differences, len(means))
    body = []
    for name, rank in zip(shared, ranks, strict=True):
        found = differences.get(name)
        difference = Difference.over(found) if found else Gap()
        tested = [corrected.get(name, Gap())] if corrected else []
        body.append(Row([Text(titles[name]), Number(rank, "rank", decimals=1), difference, *tested]))
    header = columns("method", "mean rank", "difference to Random", *["p"] if corrected else ())
    notes = [
        "Mean rank: of the mean accuracies, over all datasets and ratios, among methods with complete cells "
        "in all of them. It says nothing of chance.",
        "Difference: in points, mean ± standard deviation over datasets, each the mean over its ratios and "
        "views.",
        note,
    ]
    return Table("Ranks and differences", header, body, notes)


def _means(boards: Sequence[Board]) -> dict[str, list[float]]:
    """Return the mean accuracies of the methods that are ranked in all columns of some boards."""
    columns = [(board, ratio) for board in boards for ratio in board.ratios]
    found: dict[str, list[float]] = {}
    for board, ratio in columns:
        for name, runs in board.ranked(ratio).items():
            found.setdefault(name, []).append(summarize([*runs.values()]).mean)
    return {name: means for name, means in found.items() if len(means) == len(columns)}


def _difference(means: Sequence[float], others: Sequence[float]) -> float:
    return summarize([one - other for one, other in zip(means, others, strict=True)]).mean


def _tested(differences: Mapping[str, Sequence[float]], datasets: int) -> tuple[dict[str, Cell], str]:
    """Return the corrected p of each method's differences over datasets, and what to know of them.

    There are none where so few datasets cannot separate any method.
    """
    needed = flips_needed(max(1, len(differences)), LEVEL)
    if datasets < needed:
        return {}, (
            f"{datasets} datasets separate no method from Random: among {len(differences)} methods a "
            f"sign-flip test needs {needed}, none of them a view of another."
        )
    p_values = holm([sign_flip(values) for values in differences.values()])
    cells = {name: Number(p, "p") for name, p in zip(differences, p_values, strict=True)}
    return dict(cells), "p: exact sign-flip test over datasets, corrected for all methods by Holm's rule."
