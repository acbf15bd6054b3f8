"""The work of selecting and training, in units that no load changes: what it buys, and when it pays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from prunebench.results.board import Board, accuracy, at, mean, measured
from prunebench.results.cells import Cell, Column, Gap, Number, PerRatio, Row, Table, Text, columns, rows_of
from prunebench.results.rows import Result
from prunebench.results.statistics import summarize

# Stages after the selection.
TESTED = ("accuracy", "labeler_accuracy", "final_embeddings", "transfer")
GIGA = 1e9


def work_table(board: Board) -> Table | None:
    """The work of each method, the cheapest selection first. None if no row counted it."""
    methods = _by_work(board)
    if not methods:
        return None
    looked = any(map(_looked, methods))
    on_gpu = any(map(trained_on_gpu, methods))
    metered = any(map(_metered, methods))
    header = [
        *columns("method", "images trained on to select"),
        *(columns("images only looked at to select") if looked else []),
        *columns("steps to select", "GMAC to select", "CPU seconds to select"),
        *(columns("GPU seconds to select") if on_gpu else []),
        *(columns("GPU kJ to select") if metered else []),
        Column("GMAC to train", ratios=tuple(board.ratios)),
    ]
    body = [Row(_line(rows, board.ratios, looked, on_gpu, metered)) for rows in methods]
    notes = [
        "Means over seeds. Images count each time that a training sees them. Steps: of these trainings, each "
        "with a batch of images. GMAC: 10^9 multiply-adds of the networks; a backward pass counts as two "
        "forward passes. Clusters, neighbors and samples show in CPU seconds alone, which are those of the "
        "processor and not of the clock."
    ]
    if looked:
        notes.append("Images only looked at: those of which a network computes an output and makes no step.")
    if on_gpu:
        notes.append("GPU seconds: of stages that ran on a GPU, by the clock.")
    if metered:
        notes.append("GPU kJ: what the whole GPU took, as its driver counts it.")
    return Table("Work", header, body, notes)


def break_even_table(board: Board) -> Table | None:
    """After how many trainings each selection has paid for itself. None without a training on all images.

    Where a GPU worked, CPU seconds miss most of a training, so that multiply-adds alone are counted.
    """
    methods = _by_work(board)
    whole = next((rows for rows in board.methods(reference=True) if rows[0].method == "full"), [])
    if not (methods and whole and counted(whole)):
        return None
    units = {"multiply_adds": "by multiply-adds", "cpu_seconds": "by CPU seconds"}
    if any(map(trained_on_gpu, [*methods, whole])):
        del units["cpu_seconds"]
    on_all = {unit: _training(whole, unit) for unit in units}
    alike = {ratio: [row for rows in methods for row in at(rows, ratio).values()] for ratio in board.ratios}
    saved = {
        unit: {ratio: on_all[unit] - _training(rows, unit) for ratio, rows in alike.items() if rows}
        for unit in units
    }
    body = []
    for rows in methods:
        cells = [_break_even(_of_selection(rows, unit), saved[unit], board.ratios) for unit in units]
        body.append(Row([Text(rows[0].title), *cells]))
    header = [Column("method"), *(Column(name, ratios=tuple(board.ratios)) for name in units.values())]
    costs = [f"{on_all['multiply_adds'] / GIGA:.3g} GMAC"]
    if "cpu_seconds" in on_all:
        costs.append(f"{on_all['cpu_seconds']:.3g} CPU seconds")
    notes = [
        "So many trainings on the subset, and one selection, take no more than as many trainings on all "
        f"images, each of {' and '.join(costs)}. A training is the median one, over all methods and seeds of "
        "its ratio. Multiply-adds are those of networks alone: a selection that computes no network has no "
        "count by them."
    ]
    if "cpu_seconds" in on_all:
        notes[0] += " CPU seconds are those of all that it computes, on this processor."
    return Table("Trainings until it pays", header, body, notes)


def equal_work_table(board: Board) -> Table | None:
    """Methods next to Random that is trained on as many images as their selection and training together."""
    twins = board.twins("work")
    body = []
    for rows in board.methods(reference=False):
        twin = twins.get(rows[0].method, [])
        if not twin or not counted(rows):
            continue
        images: list[Cell] = []
        ours: list[Cell] = []
        theirs: list[Cell] = []
        for ratio in board.ratios:
            found = at(rows, ratio)
            images.append(mean([images_in_all(row) for row in found.values()], "images"))
            ours.append(measured(found, board, accuracy))
            theirs.append(measured(at(twin, ratio), board, accuracy))
        lines = {"images trained on in all": images, "accuracy": ours, "Random, trained as long": theirs}
        body += rows_of(rows[0].title, lines)
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


def _looked(rows: Sequence[Result]) -> bool:
    """Whether it is known how many images networks only looked at for these rows."""
    return all("images_forward" in row.work["accuracy"] for row in rows)


def _metered(rows: Sequence[Result]) -> bool:
    """Whether the energy of these rows is known."""
    return all("gpu_joules" in row.work["accuracy"] for row in rows)


def _by_work(board: Board) -> list[list[Result]]:
    """Return the rows of each method that counted its work, the cheapest selection first."""
    found = [rows for rows in board.methods(reference=False) if counted(rows)]
    return sorted(found, key=lambda rows: _of_selection(rows, "multiply_adds"))


def trained_on_gpu(rows: Sequence[Result]) -> bool:
    """Whether a GPU worked for any of these rows."""
    return any(row.gpu_seconds for row in rows)


def _line(
    rows: Sequence[Result], ratios: Sequence[int], looked: bool, on_gpu: bool, metered: bool
) -> list[Cell]:
    """Return the cells of a method.

    looked, metered: whether the images only looked at and the energy are known of any method.
    on_gpu: whether any method has seconds of a GPU.
    """
    training = [(ratio, [*at(rows, ratio).values()]) for ratio in ratios]
    return [
        Text(rows[0].title),
        Number(_of_selection(rows, "images"), "images"),
        *([_only_looked_at(rows)] if looked else []),
        Number(round(_of_selection(rows, "steps")), "steps"),
        Number(_of_selection(rows, "multiply_adds") / GIGA, "GMAC"),
        Number(_of_selection(rows, "cpu_seconds"), "seconds"),
        *([mean([_gpu_seconds(row) for row in rows], "seconds")] if on_gpu else []),
        *([_energy(rows)] if metered else []),
        PerRatio(tuple((ratio, _gmac_to_train(cell)) for ratio, cell in training)),
    ]


def _only_looked_at(rows: Sequence[Result]) -> Cell:
    """Return the images that a selection only looked at. A gap if they are unknown."""
    return Number(_of_selection(rows, "images_forward"), "images") if _looked(rows) else Gap()


def selection_seconds(row: Result) -> float:
    """Return the seconds that the selection of a row took, as if its cell had been run alone."""
    return sum(seconds for stage, seconds in row.seconds.items() if stage not in TESTED)


def _gpu_seconds(row: Result) -> float:
    """Return the seconds of a GPU in the selection of a row."""
    return sum(seconds for stage, seconds in row.gpu_seconds.items() if stage not in TESTED)


def _energy(rows: Sequence[Result]) -> Cell:
    """Return the energy of a selection. What ran on a CPU took none of the GPU."""
    if not _metered(rows):
        return Gap()
    return mean([selecting(row, "gpu_joules") / 1000 for row in rows], "kJ")


def _gmac_to_train(rows: Sequence[Result]) -> Cell:
    return mean([row.work["accuracy"]["multiply_adds"] / GIGA for row in rows], "GMAC")


def _break_even(selection: float, saved: Mapping[int, float], ratios: Sequence[int]) -> Cell:
    """Return by ratio after how many trainings a selection has paid for itself. A gap if it took nothing.

    saved: what a training on the subset takes less than one on all images, by ratio.
    """
    if not selection:
        return Gap()
    return PerRatio(
        tuple((ratio, _pays(selection, saved[ratio]) if ratio in saved else Gap()) for ratio in ratios)
    )


def _pays(selection: float, saved: float) -> Cell:
    return Number(math.ceil(selection / saved), "trainings") if saved > 0 else Text("never")


def _of_selection(rows: Sequence[Result], unit: str) -> float:
    """Return the work of a selection in some unit, the mean over rows."""
    return summarize([selecting(row, unit) for row in rows]).mean


def selecting(row: Result, unit: str) -> float:
    """Return the work of the selection of a row in a unit of its field `work`, its searches too."""
    return sum(units.get(unit, 0) for stage, units in row.work.items() if stage not in TESTED)


def _training(rows: Sequence[Result], unit: str) -> float:
    """Return the work of a final training and its tests in some unit, the median over rows."""
    return median(row.work["accuracy"][unit] for row in rows)
