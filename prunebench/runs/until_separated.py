"""Running a matrix, and then further seeds of those methods whose tie group is still open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.pipeline.matrix import Matrix
from prunebench.results.board import Board, Page, Place, boards, place
from prunebench.results.looks import Looks
from prunebench.runs.pages import page_of, remember_looks, suite_of
from prunebench.suites.cells import Cell
from prunebench.suites.schema import seed_list
from prunebench.system.terminal import echo

Run = Callable[[Matrix], dict[str, str]]  # runs the cells of a matrix and returns the failures, by cell


def fixed(matrix: Matrix, most: int | None, folder: Path) -> Looks:
    """Return the rule by which seeds are added, and keep it beside the rows before any is made.

    matrix: the cells of the first look.
    most: seeds of the last look, as the user chose.
    folder: that of rows and pages.

    Raise PrunebenchError if the rule is not complete, or rows were made by another or by none.
    """
    suite = matrix.cells[0].suite
    seeds = seed_list(suite_of(suite, folder).file.seeds)
    if {cell.seed for cell in matrix.cells} != {*seeds}:
        raise PrunebenchError(
            f"--until-separated begins with the seeds of the suite, {seeds}; leave out --seeds"
        )
    if seeds != list(range(len(seeds))) or len(seeds) < 2:
        raise PrunebenchError(
            f"--until-separated adds to two or more seeds from 0 on; suite {suite!r} has {seeds}"
        )
    if most is None or most <= len(seeds):
        raise PrunebenchError(
            f"--until-separated needs --max-seeds above {len(seeds)}, the seeds of the first look"
        )
    looks = Looks(len(seeds), most)
    remember_looks(suite, looks, folder)
    return looks


def run_until_separated(matrix: Matrix, looks: Looks, folder: Path, run: Run) -> dict[str, str]:
    """Run a matrix, then one seed more at a time while tie groups are open. Return all failures.

    All ranked methods of an open tie group get the next seed, at the ratio where it is open. The rule ends
    with the last look, or when no tie group has two methods.
    """
    failures = run(matrix)
    first = [cell for cell in matrix.cells if cell.seed == 0]
    for seed in range(looks.first, looks.most):
        wanted = open_cells(page_of(matrix.cells[0].suite, folder), first)
        if not wanted:
            echo(f"All tie groups are closed with {seed} seeds.", err=True)
            break
        left = looks.most - seed
        looks_left = f"{left} look{'' if left == 1 else 's'} left"
        echo(f"Seed {seed}: {len(wanted)} cells of open tie groups, {looks_left}.", err=True)
        failures |= run(replace(matrix, cells=[replace(cell, seed=seed) for cell in wanted]))
    return failures


def open_cells(page: Page, cells: list[Cell]) -> list[Cell]:
    """Return those of the cells whose method shares its tie group with another, whatever their seed."""
    found = {where for board in boards(page) for where in _open(board)}
    return [
        cell
        for cell in cells
        if ((cell.method.name, cell.dataset.name, cell.recipe_name, cell.tuning, cell.repeats), cell.ratio)
        in found
    ]


def _open(board: Board) -> Iterator[tuple[Place, int]]:
    """Yield the place and the ratio of the methods in tie groups with others."""
    for ratio, ranking in board.rankings.items():
        for rows in board.methods(reference=False):
            if rows[0].method in ranking.tied:
                yield place(rows[0]), ratio
