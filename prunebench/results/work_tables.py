"""The work of selecting and training, in units that no load changes: what it buys, and when it pays."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunebench.results.board import Board, accuracy, at, mean, measured
from prunebench.results.cells import Cell, Column, Gap, Number, PerRatio, Row, Table, Text, columns
from prunebench.results.rows import Result
from prunebench.results.statistics import summarize

# Stages after the selection.
TESTED = ("accuracy", "labeler_accuracy", "final_embeddings", "transfer")
GIGA = 1e9


def work_table(board: Board) -> Table | None:
    """The work of each method, the cheapest selection first. None if no row counted it."""
    methods = [rows for rows in board.methods(reference=False) if counted(rows)]
    if not methods:
        return None
    methods.sort(key=_of_selection)
    on_all = _training_on_all(board)
    metered = any(map(_metered, methods))
    header = [
        *columns("method", "images trained on to select", "GMAC to select", "CPU seconds to select"),
        *(columns("GPU kJ to select") if metered else []),
        Column("GMAC to train", ratios=tuple(board.ratios)),
        *([] if on_all is None else [Column("trainings until it pays", ratios=tuple(board.ratios))]),
    ]
    body = [Row(_line(rows, board.ratios, on_all, metered)) for rows in methods]
    notes = [
        "Means over seeds. Images count each time that a training sees them. GMAC: 10^9 multiply-adds of the "
        "networks; a backward pass counts as two forward passes. Clusters, neighbors and samples show in CPU "
        "seconds alone, which are those of the processor and not of the clock."
    ]
    if metered:
        notes.append("GPU kJ: what the whole GPU took, as its driver counts it.")
    if on_all is not None:
        notes.append(
            "Trainings until it pays: so many on the subset, and one selection, take no more multiply-adds "
            f"than as many on all images, each of {on_all / GIGA:.3g} GMAC."
        )
    return Table("Work", header, body, notes)


def equal_work_table(board: Board) -> Table | None:
    """Methods next to Random that is trained on as many images as their selection and training together."""
    twins = board.twins("work")
    body = []
    for rows in board.methods(reference=False):
        twin = twins.get(rows[0].method, [])
        if not twin:
            continue
        title, again = Text(rows[0].title), Text(rows[0].title, again=True)
        cells: dict[str, list[Cell]] = {"images": [], "ours": [], "theirs": []}
        for ratio in board.ratios:
            found = at(rows, ratio)
            cells["images"].append(mean([images_in_all(row) for row in found.values()], "images"))
            cells["ours"].append(measured(found, board, accuracy))
            cells["theirs"].append(measured(at(twin, ratio), board, accuracy))
        body += [
            Row([title, Text("images trained on in all"), *cells["images"]]),
            Row([again, Text("accuracy"), *cells["ours"]]),
            Row([again, Text("Random, trained as long"), *cells["theirs"]]),
        ]
    header = columns("method", "", ratios=board.ratios)
    notes = [
        "Images trained on in all: those of the trainings of the selection and of the final one, each time "
        "that they are seen. Random keeps as many images, and its final network trains on them as often as "
        "that allows. Frozen backbones train on none."
    ]
    return Table("Equal compute", header, body, notes, keys=2) if body else None


def images_in_all(row: Result) -> float:
    """Return how many images the selection and the final training of a row train on."""
    return selecting(row, "images") + row.work["accuracy"]["images"]


def counted(rows: Sequence[Result]) -> bool:
    """Whether the work of these rows is known."""
    return all("accuracy" in row.work for row in rows)


def _metered(rows: Sequence[Result]) -> bool:
    """Whether the energy of these rows is known."""
    return all("gpu_joules" in row.work["accuracy"] for row in rows)


def _line(rows: Sequence[Result], ratios: Sequence[int], on_all: float | None, metered: bool) -> list[Cell]:
    """Return the cells of a method.

    on_all: the multiply-adds of a training on all images, or None.
    metered: whether the energy of any method is known.
    """
    training = {ratio: _training([*at(rows, ratio).values()]) for ratio in ratios}
    cells: list[Cell] = [
        Text(rows[0].title),
        mean([selecting(row, "images") for row in rows], "images"),
        mean([selecting(row, "multiply_adds") / GIGA for row in rows], "GMAC"),
        mean([selecting(row, "cpu_seconds") for row in rows], "seconds"),
        *([_energy(rows)] if metered else []),
        PerRatio(tuple((ratio, _giga(cost)) for ratio, cost in training.items())),
    ]
    if on_all is not None:
        selection = _of_selection(rows)
        pays = ((ratio, _pays(selection, cost, on_all)) for ratio, cost in training.items())
        cells.append(PerRatio(tuple(pays)))
    return cells


def _energy(rows: Sequence[Result]) -> Cell:
    """Return the energy of a selection. What ran on a CPU took none of the GPU."""
    if not _metered(rows):
        return Gap()
    return mean([selecting(row, "gpu_joules") / 1000 for row in rows], "kJ")


def _giga(multiply_adds: float | None) -> Cell:
    return Gap() if multiply_adds is None else Number(multiply_adds / GIGA, "GMAC")


def _pays(selection: float, training: float | None, on_all: float) -> Cell:
    """Return after how many trainings on the subset a selection has paid for itself."""
    if training is None:
        return Gap()
    if training >= on_all:
        return Text("never")
    return Number(max(1, math.ceil(selection / (on_all - training))), "trainings")


def _of_selection(rows: Sequence[Result]) -> float:
    """Return the multiply-adds of a selection, in the mean over rows."""
    return summarize([selecting(row, "multiply_adds") for row in rows]).mean


def selecting(row: Result, unit: str) -> float:
    """Return the work of the selection of a row in a unit of its field `work`, its searches too."""
    return sum(units.get(unit, 0) for stage, units in row.work.items() if stage not in TESTED)


def _training(rows: Sequence[Result]) -> float | None:
    """Return the multiply-adds of a final training and its tests: the mean over rows, None without any."""
    return summarize([row.work["accuracy"]["multiply_adds"] for row in rows]).mean if rows else None


def _training_on_all(board: Board) -> float | None:
    """Return the multiply-adds of a training on all images. None if no row of the board counted them."""
    for rows in board.methods(reference=True):
        if rows[0].method == "full" and counted(rows):
            return _training(rows)
    return None
