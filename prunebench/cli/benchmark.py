"""The commands `plan`, `status` and `labels`: what cells need, how far they are, how good labels are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import CellOptions, ResultsOption, WorkersOption, cell_options
from prunebench.cli.run import end_with
from prunebench.errors import PrunebenchError
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.pipeline.matrix import Matrix


@cell_options()
def plan(
    options: CellOptions,
    each: Annotated[bool, typer.Option("--each", help="One line per stage, with its key.")] = False,
    detect: Annotated[
        float | None,
        typer.Option("--detect", help="POINTS: show how many seeds detect such a difference, from the rows."),
    ] = None,
    results: ResultsOption = Path("leaderboard"),
) -> None:
    """Show every stage of the chosen cells: stored or to make, for which methods, what it will take."""
    if detect is None:
        print_plan(options.matrix(), each)
    else:
        print_seeds(options, results, detect, each)


def print_plan(matrix: Matrix, each: bool) -> None:
    """Print the stages of a matrix, counted together where they differ in ratio and seed only."""
    from prunebench.runs import plan
    from prunebench.runs.format import table

    for line in plan.absent(matrix):
        echo(line)
    lines = plan.lines(matrix, each)
    header = [
        "dataset",
        "stage",
        "what",
        *(["ratio", "seed", "key"] if each else []),
        "stored",
        "to make",
        "time",
        "memory",
        "disk",
        "methods",
    ]
    echo(table([line.columns(each) for line in lines], header))
    known = {name: root[:12] for name, root in matrix.graph.roots.items() if not root.startswith("absent:")}
    if known:
        echo("\nfingerprint of " + ", ".join(f"{name}: {digits}" for name, digits in known.items()))
    stored, to_make = sum(line.stored for line in lines), sum(line.to_make for line in lines)
    echo(
        f"\n{len(matrix.cells)} cells: {stored} stages stored, {to_make} to make, "
        f"{plan.total(lines)} of computation on one {matrix.device} worker"
    )


def print_seeds(options: CellOptions, results: Path, difference: float, each: bool) -> None:
    """Print how many seeds the comparisons of the chosen cells need to detect a difference, in points."""
    from prunebench.parts.registry import load
    from prunebench.runs import detect
    from prunebench.runs.format import table
    from prunebench.runs.pages import page_of
    from prunebench.suites import resolve, schema

    suite = schema.read(options.suite or "standard")
    cells = resolve.cells(suite, options.filters(), load())
    found = detect.detections(page_of(suite.name, results), cells, difference)
    echo(table([line for one in found for line in one.lines(each)], detect.header(each)))
    echo(
        f"\nSeeds of all ranked methods with which {detect.POWER:.0%} of boards separate two that differ by "
        f"{difference:g} points, if runs scatter as those now. docs/statistics.md has the tests."
    )


@cell_options()
def status(
    options: CellOptions,
) -> None:
    """Show the chosen cells that are begun, by state, and the stages that run."""
    from prunebench.runs import status
    from prunebench.runs.format import table
    from prunebench.runs.states import SHOWN

    found = status.status(options.matrix())
    begun = [line for line in found.cells if any(line[2:-1])]  # the last column counts the cells left
    if begun:
        echo(table(begun, ["dataset", "method", *SHOWN]))
    if pairs := len(found.cells) - len(begun):
        echo(f"not begun: {pairs} pair(s) of dataset and method")
    if found.running:
        echo("\n" + table(found.running, status.RUNNING))
    echo(f"\n{found.total}")
    for line in [*found.tasks, *found.failures]:
        echo(line)


@cell_options(without=("ratios",))
def labels(
    options: CellOptions,
    make: Annotated[
        bool, typer.Option("--make", help="First make the labels that are missing, and nothing else.")
    ] = False,
    workers: WorkersOption = None,
) -> None:
    """Show how good the pseudo-labels of the chosen methods are, labelers by datasets, from the store."""
    from prunebench.pipeline.executors.engine import Engine
    from prunebench.pipeline.forecast import forecast_from_store
    from prunebench.runs import label_report as judging
    from prunebench.runs.format import table
    from prunebench.runs.run import get_ready, make_labels

    matrix = options.matrix()
    failures: dict[str, str] = {}
    if make:
        get_ready(matrix)
        failures = make_labels(matrix, forecast_from_store(matrix), Engine(workers=workers))
    groups = judging.judged(matrix)
    if not groups:
        raise PrunebenchError("no labeler of these methods makes pseudo-labels. See: prunebench list methods")
    header, rows = judging.overview(groups)
    echo("All images labeled right, in percent; clusters after the best one-to-one matching")
    echo(table(rows, header))
    for dataset in dict.fromkeys(group.dataset for group in groups):
        header, rows = judging.details(groups, dataset)
        echo(f"\n{dataset}, the images that were not annotated, in percent")
        echo(table(rows, header))
        header, rows = judging.histogram(groups, dataset)
        echo("\n" + table(rows, header) if rows else "\nNothing stored; make it with --make.")
    end_with(failures)
