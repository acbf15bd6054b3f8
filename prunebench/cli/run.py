"""The command `run`: from cells to rows and a page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import (
    CellOptions,
    ProcessesOption,
    ResultsOption,
    StageTimeoutOption,
    WorkersOption,
    WorkersPerGpuOption,
    cell_options,
    pairs,
    per_gpu,
    shares,
)
from prunebench.errors import PrunebenchError
from prunebench.system.files import absolute, near, replace_file
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.pipeline.executors.engine import Engine
    from prunebench.pipeline.matrix import Matrix
    from prunebench.runs.sinks import Sinks
    from prunebench.suites.cells import Cell


@cell_options()
def run(
    options: CellOptions,
    results: ResultsOption = Path("leaderboard"),
    executor: Annotated[
        str,
        typer.Option(
            "--executor", help="What runs the stages: local, dask, ray, slurm, a plugin's or MODULE:FACTORY."
        ),
    ] = "local",
    executor_options: Annotated[
        list[str] | None, typer.Option("--executor-option", help="NAME=VALUE that the executor takes.")
    ] = None,
    workers: WorkersOption = None,
    workers_per_gpu: WorkersPerGpuOption = None,
    processes: ProcessesOption = 1,
    leave: Annotated[
        bool, typer.Option("--leave", help="Submit to Slurm and end. The same command without it collects.")
    ] = False,
    fresh: Annotated[
        list[str] | None, typer.Option("--fresh", help="PART whose stages are made again.")
    ] = None,
    stage_timeout: StageTimeoutOption = None,
    share: Annotated[
        str | None, typer.Option("--shard", help="I/N: the I-th of N shares of the cells, for N machines.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="6h, or 20gpuh of GPU: only cells that fit in, by the predicted time."),
    ] = None,
    certify: Annotated[
        bool, typer.Option("--certify", help="Select again without the truth: rows then say certified.")
    ] = False,
    until_separated: Annotated[
        bool,
        typer.Option("--until-separated", help="Add seeds while methods share a tie group."),
    ] = False,
    max_seeds: Annotated[
        int | None, typer.Option("--max-seeds", help="The most seeds that --until-separated makes.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", parser=absolute, metavar="FILE", help="Gets a line of JSON for each new row."),
    ] = None,
    track: Annotated[
        str | None, typer.Option("--track", help="A project of trackio that gets a run for each new row.")
    ] = None,
) -> None:
    """Run cells, print a line for each and the leaderboard. The same command again resumes."""
    from prunebench.pipeline.executors.engine import Engine
    from prunebench.runs.certify import without_truth
    from prunebench.runs.run import forget, get_ready, leave_matrix
    from prunebench.runs.sinks import sinks
    from prunebench.runs.until_separated import fixed, run_until_separated

    if options.empty:
        show_overview(options)
        return
    engine = Engine(
        name=executor,
        workers=workers,
        workers_per_gpu=per_gpu(workers_per_gpu),
        stage_timeout=stage_timeout,
        processes=processes,
        options=pairs("--executor-option", executor_options),
    )
    given = {
        "--shard": share is not None,
        "--until-separated": until_separated,
        "--max-seeds": max_seeds is not None,
        "--fresh": bool(fresh),
        "--budget": budget is not None,
        "--certify": certify,
        "--leave": leave,
    }
    check_together([option for option, is_given in given.items() if is_given], executor)
    matrix = chosen_cells(options, share, elsewhere=executor != "local")
    if not matrix.cells:
        echo(f"--shard {share}: there are fewer cells than shares, and none is in this one")
        return
    told = sinks(results, log, track)
    get_ready(matrix, results)
    if budget is not None:
        matrix = cells_within(matrix, budget, engine)
    forget(matrix, fresh or [])
    if leave:
        echo(leave_matrix(matrix, engine))
        return
    if certify:
        forget(without_truth(matrix), fresh or [])
    remember_suite(options.suite, results)
    running = partial(run_cells, told=told, engine=engine, certify=certify)
    if until_separated:
        failures = run_until_separated(matrix, fixed(matrix, max_seeds, results), results, running)
    else:
        failures = running(matrix)
    echo()
    show_page(matrix.cells, results)
    end_with(failures)


def show_overview(options: CellOptions) -> None:
    """Print what can be run, and how to begin."""
    from prunebench.parts.registry import load
    from prunebench.runs import listing
    from prunebench.runs.places import folder, pick_device

    for line in listing.overview(load(), folder("data", options.data), pick_device(options.device)):
        echo(line)


def check_together(given: Collection[str], executor: str) -> None:
    """Raise PrunebenchError where options contradict one another.

    given: names of the options that the user gave.
    executor: the value of --executor.
    """
    if {"--until-separated", "--shard"} <= {*given}:
        raise PrunebenchError("--until-separated looks at all cells of a board; leave out --shard")
    if "--max-seeds" in given and "--until-separated" not in given:
        raise PrunebenchError("--max-seeds belongs to --until-separated")
    for option in ("--until-separated", "--certify", "--fresh"):
        if "--budget" in given and option in given:
            raise PrunebenchError(f"{option} makes stages that no budget knows; leave out --budget")
    for option in ("--until-separated", "--certify", "--budget"):
        if "--leave" in given and option in given:
            raise PrunebenchError(f"{option} looks at what is stored before it chooses; leave out --leave")
    if "--leave" in given and executor != "slurm":
        raise PrunebenchError(f"--leave: --executor {executor} ends with the command; use slurm")


def chosen_cells(options: CellOptions, share: str | None, elsewhere: bool) -> Matrix:
    """Return the matrix of the chosen cells, or of a share of them, which may have none.

    share: the value of --shard, or None for all cells.
    elsewhere: whether other machines compute it.

    Raise PrunebenchError if an option is invalid, or neither suite nor datasets are chosen.
    """
    from prunebench.runs.select import shard

    matrix = options.matrix(elsewhere)
    if not (options.suite or options.datasets):
        raise PrunebenchError(
            "say on which datasets: --datasets NAME,NAME or, for all that can be had, --datasets all. "
            "See: prunebench list datasets"
        )
    return matrix if share is None else shard(matrix, *shares(share))


def cells_within(matrix: Matrix, budget: str, engine: Engine) -> Matrix:
    """Return the matrix of the cells that fit into --budget. Print a line on those left out, if any are.

    Raise PrunebenchError if the budget is none, the time of a stage is unknown, or no cell fits.
    """
    from prunebench.pipeline.forecast import forecast_from_store, probe
    from prunebench.runs import budget as budgets

    limit = budgets.budget(budget, matrix.device, replace(engine, gpus=matrix.gpus))
    forecast = forecast_from_store(matrix)
    if engine.name == "local":  # steps on this machine say nothing of others
        probe(matrix, forecast, matrix.missing().values())
    fitting, left_out = budgets.within(matrix, forecast, limit)
    if left_out:
        echo(left_out)
    return fitting


def remember_suite(name: str | None, results: Path) -> None:
    """Keep a suite beside its rows. Print a warning where rows of another one of its name are there.

    name: the value of --suite.
    """
    from prunebench.runs.pages import remember
    from prunebench.suites import schema

    warning = remember(schema.read(name or "standard"), results)
    if warning:
        echo(warning, err=True)


def run_cells(matrix: Matrix, *, told: Sinks, engine: Engine, certify: bool) -> dict[str, str]:
    """Run a matrix. Return the reason of each failure, by the name of the cell.

    told: where rows go.
    certify: whether selections are made again without the truth.
    """
    from prunebench.pipeline.forecast import forecast_from_store
    from prunebench.runs.certify import run_certified
    from prunebench.runs.run import run_matrix

    call = run_certified if certify else run_matrix
    return call(matrix, forecast_from_store(matrix), told, engine)


def show_page(cells: Sequence[Cell], results: Path) -> None:
    """Write the page of a suite. Print its accuracies for the datasets, ratios and seeds of some cells."""
    from prunebench.results.document import document
    from prunebench.results.render.formats import FORMATS
    from prunebench.runs.page_files import contents
    from prunebench.runs.pages import narrowed, page_of, page_path

    name = cells[0].suite
    page = page_of(name, results)
    made = contents({name: document(page)}, results)
    for path, content in made.items():
        replace_file(path, content.encode(), "--results")
    short = document(
        replace(narrowed(page, cells), failures=()),  # the command ends with failures
        only=lambda table: table.title in ("Accuracy", "Reference points"),
    )
    echo(FORMATS["text"]([short]))
    echo(f"The whole page: {near(page_path(name, results))}")


def end_with(failures: Mapping[str, str]) -> None:
    """Print failures, and end the command with an error if there are any."""
    for name, message in failures.items():
        echo(f"failed: {name}: {message}", err=True)
    if failures:
        raise typer.Exit(1)
