"""The tables of exams: other networks, shifted test images, calibration, images to reach, agreement. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from math import fsum, isnan, nan

from prunebench.results.board import Board, at, by_seed, complete, measured
from prunebench.results.cells import (
    Cell,
    Column,
    Gap,
    Measured,
    Number,
    PerRatio,
    Row,
    Table,
    Text,
    columns,
    rows_of,
)
from prunebench.results.rows import Result
from prunebench.results.spelling import spelled
from prunebench.results.statistics import summarize
from prunebench.results.work_tables import counted

Value = Callable[[Result], float]  # what an exam gave a row. nan: the row did not sit it
SHARES = (90, 95, 99)  # of the accuracy of all images, in percent
FEWEST = 4  # methods, of which a rank correlation says anything
CALIBRATION = {  # title, unit and decimals, by name
    "ece": ("ECE", "percent", 1),
    "nll": ("NLL", "nats", 3),
    "brier": ("Brier score", "value", 3),
}


def tables(board: Board) -> list[Table]:
    """Return the tables of the exams that the rows of a board sat."""
    makers = (transfer_table, shift_table, corruption_table, calibration_table, images_table, agreement_table)
    return [table for maker in makers if (table := maker(board)) is not None]


# What exams give


def _accuracy(row: Result) -> float:
    return row.accuracy


def _transferred(network: str, row: Result) -> float:
    return row.accuracy_transferred.get(network, nan)


def _under(corruption: str, row: Result) -> float:
    return row.accuracy_shifted.get(corruption, nan)


def _shifted(row: Result) -> float:
    """Return the mean over the corruptions."""
    values = row.accuracy_shifted.values()
    return fsum(values) / len(values) if values else nan


def _calibration(name: str, row: Result) -> float:
    return row.calibration.get(name, nan)


def _sat(rows: Mapping[int, Result], value: Value) -> dict[int, Result]:
    """Return the rows, by seed, that sat an exam."""
    return {seed: row for seed, row in rows.items() if not isnan(value(row))}


def _names(dictionaries: Iterable[Mapping[str, float]]) -> list[str]:
    """Return all keys, in order of first appearance."""
    return list(dict.fromkeys(name for dictionary in dictionaries for name in dictionary))


def _calibrations(board: Board) -> list[str]:
    """Return the names of the measures of calibration that rows have."""
    names = _names(row.calibration for row in board.rows)
    return [name for name in CALIBRATION if name in names]


# Tables


def transfer_table(board: Board) -> Table | None:
    """Accuracy of other networks that trained on the same images, by method and ratio."""
    names = _names(row.accuracy_transferred for row in board.rows)
    body = []
    for rows in board.in_columns():
        lines = {name: _by_ratio(board, rows, partial(_transferred, name)) for name in names}
        body += rows_of(rows[0].title, lines, rows[0].reference)
    notes = [
        "Test accuracy in percent, last epoch, of networks that the selection knew nothing of. "
        f"Mean ± standard deviation over {len(board.page.seeds)} seeds.",
        *(_all_images(board, partial(_transferred, name), f"with {name}") for name in names),
    ]
    header = columns("method", "network", ratios=board.ratios)
    return Table("Accuracy of other networks", header, body, notes, keys=2) if names else None


def shift_table(board: Board) -> Table | None:
    """Mean accuracy over the corruptions of the test images, by method and ratio."""
    names = _names(row.accuracy_shifted for row in board.rows)
    if not names:
        return None
    body = [
        Row([Text(rows[0].title), *_by_ratio(board, rows, _shifted)], rows[0].reference)
        for rows in board.in_columns()
    ]
    notes = [
        f"Accuracy in percent on corrupted test images, mean over {', '.join(map(_words, names))}. "
        "The training images are as they are. "
        f"Mean ± standard deviation over {len(board.page.seeds)} seeds.",
        _all_images(board, _shifted),
    ]
    header = columns("method", ratios=board.ratios)
    return Table("Accuracy under shift", header, body, notes)


def corruption_table(board: Board) -> Table | None:
    """Accuracy under each corruption of the test images, by method."""
    names = _names(row.accuracy_shifted for row in board.rows)
    values = {_words(name): (partial(_under, name), "percent", 1) for name in names}
    return _table_per_ratio(board, "Accuracy by corruption", values, "Accuracy in percent, mean over seeds.")


def calibration_table(board: Board) -> Table | None:
    """How well the probabilities of networks fit, by method."""
    values = {}
    for name in _calibrations(board):
        title, unit, decimals = CALIBRATION[name]
        values[title] = partial(_calibration, name), unit, decimals
    note = (
        "On the test images, mean over seeds. Lower is better. "
        "ECE: expected calibration error in percent, over 15 bins of equal width. "
        "NLL: negative log-likelihood of the true class, in nats. Brier score: in 0..2."
    )
    return _table_per_ratio(board, "Calibration", values, note)


def images_table(board: Board) -> Table | None:
    """How many images a training saw until it was almost as good as one on all images."""
    full = _full(board)
    with_history = [row for row in board.rows if row.history]
    if not full or not with_history:
        return None
    goal = summarize([row.accuracy for row in full.values()]).mean
    body = []
    for rows in board.in_columns():
        for place, share in enumerate(SHARES):
            cells = [_images_to(share / 100 * goal, at(rows, ratio).values()) for ratio in board.ratios]
            title = Text(rows[0].title, again=place > 0)
            body.append(Row([title, Number(share, "percent", decimals=0), *cells]))
    epochs = sorted({int(row.history[0][0]) for row in with_history})
    notes = [
        "Images that a final training saw, each as often as it was seen, "
        f"until its test accuracy was this percentage of {goal:.1f} %, the accuracy of all images. "
        "Mean over seeds, or how many of them reached it. "
        f"Networks were tested every {' or '.join(map(str, epochs))} epochs. {_full_images(goal, full)}"
    ]
    header = columns("method", "percent of that accuracy", ratios=board.ratios)
    return Table("Images seen to reach", header, body, notes, keys=2)


def _images_to(goal: float, rows: Iterable[Result]) -> Cell:
    """Return the mean number of images that trainings saw until an accuracy, or how many reached it."""
    histories = [row for row in rows if row.history]
    reached = [images for row in histories if (images := _seen_until(goal, row)) is not None]
    if not histories:
        return Gap()
    if len(reached) < len(histories):
        return Text(f"{len(reached)} of {len(histories)} seeds")
    return Number(summarize(reached).mean, "images")


def _full_images(goal: float, full: Mapping[int, Result]) -> str:
    """Return what trainings on all images saw, as a sentence."""
    cells = (_images_to(share / 100 * goal, full.values()) for share in SHARES)
    return f"All images: {' / '.join(map(spelled, cells))}."


def _seen_until(goal: float, row: Result) -> int | None:
    """Return the number of images that a training saw until it reached an accuracy, or None if it did not."""
    epochs = (int(epoch) for epoch, accuracy in row.history if accuracy >= goal)
    first = next(epochs, None)
    if first is None:
        return None
    seen = first * row.kept
    # A training of so many steps may end within an epoch.
    return min(seen, int(row.work["accuracy"]["images"])) if counted([row]) else seen


def agreement_table(board: Board) -> Table | None:
    """Rank correlation of exams over methods, by ratio."""
    exams = _exams(board)
    if len(exams) < 2:
        return None
    body = []
    for title, value in exams.items():
        itself = _correlations(board, value, value, halves=True)
        body.append(Row([Text(title), Text("itself, on other seeds"), *itself]))
    for one, other in combinations(exams, 2):
        body.append(Row([Text(one), Text(other), *_correlations(board, exams[one], exams[other])]))
    notes = [
        f"Spearman's rank correlation of two exams over the {len(board.methods(reference=False))} methods, "
        "of means over seeds. 1: both rank the methods alike. "
        "Calibration counts as negative, so that more is better in every exam. "
        "Itself, on other seeds: even seeds against odd ones, which is as far as chance lets it agree."
    ]
    header = columns("exam", "other exam", ratios=board.ratios)
    return Table("Agreement of exams", header, body, notes, keys=2)


def _exams(board: Board) -> dict[str, Value]:
    """Return what gives a row its value in each exam that rows sat, by title. More is better."""
    exams: dict[str, Value] = {"accuracy": _accuracy}
    for name in _names(row.accuracy_transferred for row in board.rows):
        exams[f"accuracy of {name}"] = partial(_transferred, name)
    if any(row.accuracy_shifted for row in board.rows):
        exams["accuracy under shift"] = _shifted
    for name in _calibrations(board):
        exams[CALIBRATION[name][0]] = partial(_negated, name)
    return exams


def _negated(name: str, row: Result) -> float:
    return -_calibration(name, row)


def _correlations(board: Board, one: Value, other: Value, halves: bool = False) -> list[Number | Gap]:
    return [_correlation(board, ratio, one, other, halves) for ratio in board.ratios]


def _correlation(board: Board, ratio: int, one: Value, other: Value, halves: bool) -> Number | Gap:
    """Return the rank correlation of two exams at a ratio, over the methods that sat both with all seeds.

    halves: whether `one` counts on even seeds alone, and `other` on odd ones.
    """
    pairs = []
    for rows in board.methods(reference=False):
        sat = [_sat(at(rows, ratio), value) for value in (one, other)]
        if not all(complete(seeds, board.page) for seeds in sat):
            continue
        if halves:
            sat = [_every_second(seeds, parity) for parity, seeds in enumerate(sat)]
        if all(sat):
            pairs.append((_mean(one, sat[0]), _mean(other, sat[1])))
    return _spearman(pairs)


def _every_second(rows: Mapping[int, Result], parity: int) -> dict[int, Result]:
    """Return the rows of even seeds (parity 0) or odd ones (1)."""
    return {seed: row for seed, row in rows.items() if seed % 2 == parity}


def _mean(value: Value, rows: Mapping[int, Result]) -> float:
    return summarize([value(row) for row in rows.values()]).mean


def _spearman(pairs: Sequence[tuple[float, float]]) -> Number | Gap:
    """Return the rank correlation of pairs, or a gap if there are too few or one side is constant."""
    constant = any(len(set(side)) == 1 for side in zip(*pairs, strict=True))
    if len(pairs) < FEWEST or constant:
        return Gap()
    from scipy.stats import spearmanr

    return Number(float(spearmanr(pairs).statistic), "correlation", decimals=2)


# What tables have in common


def _by_ratio(board: Board, rows: Sequence[Result], value: Value) -> list[Measured | Gap]:
    """Return a cell for each ratio: the mean over the seeds that sat an exam."""
    return [measured(_sat(at(rows, ratio), value), board, value) for ratio in board.ratios]


def _table_per_ratio(
    board: Board, title: str, values: Mapping[str, tuple[Value, str, int]], note: str
) -> Table | None:
    """Return a table with a column for each value, which shows all ratios in one cell; None without values.

    values: the value, its unit and its decimals, by the title of the column.
    """
    if not values:
        return None
    body = []
    for rows in board.in_columns():
        cells = [_per_ratio(board, rows, *value) for value in values.values()]
        body.append(Row([Text(rows[0].title), *cells], rows[0].reference))
    ratios = tuple(board.ratios)
    header = [Column("method"), *(Column(column, ratios=ratios) for column in values)]
    return Table(title, header, body, [note])


def _per_ratio(board: Board, rows: Sequence[Result], value: Value, unit: str, decimals: int) -> PerRatio:
    found: list[tuple[int, Cell]] = []
    for ratio in board.ratios:
        values = [value(row) for row in _sat(at(rows, ratio), value).values()]
        mean = Number(summarize(values).mean, unit, decimals=decimals) if values else Gap()
        found.append((ratio, mean))
    return PerRatio(tuple(found))


def _full(board: Board) -> dict[int, Result]:
    """Return the trainings on all images, by seed. {} if there are none."""
    return by_seed(row for row in board.rows if row.method == "full")


def _all_images(board: Board, value: Value, more: str = "") -> str:
    """Return a note about the exam of the trainings on all images."""
    rows = _sat(_full(board), value).values()
    words = f"All images {more}".strip()
    return f"{words}: {summarize([value(row) for row in rows])}." if rows else f"{words}: no result."


def _words(name: str) -> str:
    return name.replace("_", " ")
