"""The commands of the benchmark: from cells to the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import (
    CellOptions,
    ProcessesOption,
    ResultsOption,
    StageTimeoutOption,
    SuiteOption,
    WorkersOption,
    WorkersPerGpuOption,
    cell_options,
    pairs,
    per_gpu,
    shares,
)
from prunebench.errors import PrunebenchError, unknown
from prunebench.system.files import absolute, near, replace_file
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.pipeline.executors.engine import Engine
    from prunebench.pipeline.matrix import Matrix
    from prunebench.results.document import Document


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
    from prunebench.parts.registry import load
    from prunebench.pipeline.executors.engine import Engine
    from prunebench.pipeline.forecast import forecast_from_store
    from prunebench.runs import listing
    from prunebench.runs.certify import run_certified, without_truth
    from prunebench.runs.pages import remember
    from prunebench.runs.places import folder, pick_device
    from prunebench.runs.run import get_ready, leave_matrix, run_matrix
    from prunebench.runs.sinks import sinks
    from prunebench.runs.until_separated import fixed, run_until_separated
    from prunebench.suites import schema

    if options.empty:
        for line in listing.overview(load(), folder("data", options.data), pick_device(options.device)):
            echo(line)
        return
    engine = Engine(
        name=executor,
        workers=workers,
        workers_per_gpu=per_gpu(workers_per_gpu),
        stage_timeout=stage_timeout,
        processes=processes,
        options=pairs("--executor-option", executor_options),
    )
    if share is not None and until_separated:
        raise PrunebenchError("--until-separated looks at all cells of a board; leave out --shard")
    if max_seeds is not None and not until_separated:
        raise PrunebenchError("--max-seeds belongs to --until-separated")
    for option, given in (("until-separated", until_separated), ("certify", certify), ("fresh", fresh)):
        if budget is not None and given:
            raise PrunebenchError(f"--{option} makes stages that no budget knows; leave out --budget")
    chosen_later = {"until-separated": until_separated, "certify": certify, "budget": budget is not None}
    for option, given in chosen_later.items():
        if leave and given:
            raise PrunebenchError(f"--{option} looks at what is stored before it chooses; leave out --leave")
    if leave and executor != "slurm":
        raise PrunebenchError(f"--leave: --executor {executor} ends with the command; use slurm")
    matrix = chosen_cells(options, share, elsewhere=executor != "local")
    if not matrix.cells:
        echo(f"--shard {share}: there are fewer cells than shares, and none is in this one")
        return
    told = sinks(results, log, track)
    get_ready(matrix, results)
    if budget is not None:
        matrix, left_out = cells_within(matrix, budget, engine)
        if left_out:
            echo(left_out)
    remake(matrix, fresh or [])
    if leave:
        echo(leave_matrix(matrix, engine))
        return
    if certify:
        remake(without_truth(matrix), fresh or [])
    warning = remember(schema.read(options.suite or "standard"), results)
    if warning:
        echo(warning, err=True)

    def run_cells(chosen: Matrix) -> dict[str, str]:
        running = run_certified if certify else run_matrix
        return running(chosen, forecast_from_store(chosen), told, engine)

    if until_separated:
        failures = run_until_separated(matrix, fixed(matrix, max_seeds, results), results, run_cells)
    else:
        failures = run_cells(matrix)
    echo()
    show_page(matrix.cells[0].suite, results)
    for title, message in failures.items():
        echo(f"failed: {title}: {message}", err=True)
    if failures:
        raise typer.Exit(1)


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


def cells_within(matrix: Matrix, budget: str, engine: Engine) -> tuple[Matrix, str | None]:
    """Return the matrix of the cells that fit into --budget, and a line on those left out, if there are any.

    Raise PrunebenchError if the budget is none, the time of a stage is unknown, or no cell fits.
    """
    from prunebench.pipeline.forecast import forecast_from_store, probe
    from prunebench.runs import budget as budgets

    limit = budgets.budget(budget, matrix.device, replace(engine, gpus=matrix.gpus))
    forecast = forecast_from_store(matrix)
    if engine.name == "local":  # steps on this machine say nothing of others
        probe(matrix, forecast, matrix.missing().values())
    return budgets.within(matrix, forecast, limit)


def remake(matrix: Matrix, parts: list[str]) -> None:
    """Forget what is stored of the stages that run one of these parts, and of all that follows from them."""
    if not parts:
        return
    known = {
        stage.identity["part"]["part"] for stage in matrix.graph.stages.values() if "part" in stage.identity
    }
    for part in parts:
        if part not in known:
            raise unknown("part in the chosen cells", part, known, "prunebench plan")
    for stage in matrix.graph.stages.values():
        if any(s.identity.get("part", {}).get("part") in parts for s in stage.ancestors()):
            matrix.store.remove(stage.key)


def show_page(name: str, results: Path) -> None:
    """Write the page of a suite and print its accuracy tables."""
    from prunebench.results.document import document
    from prunebench.results.render.formats import FORMATS
    from prunebench.runs.page_files import contents
    from prunebench.runs.pages import page_of, page_path

    page = page_of(name, results)
    made = contents({name: document(page)}, results)
    for path, content in made.items():
        replace_file(path, content.encode(), "--results")
    short = document(page, only=lambda table: table.title in ("Accuracy", "Reference points"))
    echo(FORMATS["text"]([short]))
    echo(f"The whole page: {near(page_path(name, results))}")


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
    """Show the chosen cells by state: done, running, interrupted, failed, left. Show the stages that run."""
    from prunebench.runs import status
    from prunebench.runs.format import table
    from prunebench.runs.states import SHOWN

    found = status.status(options.matrix())
    echo(table(found.cells, ["dataset", "method", *SHOWN]))
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
        raise PrunebenchError("no labeler of these methods guesses a label. See: prunebench list methods")
    header, rows = judging.overview(groups)
    echo("All images labeled right, in percent; clusters after the best one-to-one matching")
    echo(table(rows, header))
    for dataset in dict.fromkeys(group.dataset for group in groups):
        header, rows = judging.details(groups, dataset)
        echo(f"\n{dataset}, the images that were not annotated, in percent")
        echo(table(rows, header))
        header, rows = judging.histogram(groups, dataset)
        echo("\n" + table(rows, header) if rows else "\nNothing stored; make it with --make.")
    for name, message in failures.items():
        echo(f"failed: {name}: {message}", err=True)
    if failures:
        raise typer.Exit(1)


def leaderboard(
    results: ResultsOption = Path("leaderboard"),
    suite: SuiteOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a page is not up to date.")
    ] = False,
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="markdown, text, csv, latex, json: markdown writes pages, the others print their tables.",
        ),
    ] = "markdown",
    figures: Annotated[
        bool,
        typer.Option(
            "--figures", help="Draw the figure of every board; without it, only those drawn before."
        ),
    ] = False,
) -> None:
    """Make the page of every suite that has results and their index, or print them in another format."""
    from prunebench.results.render.formats import FORMATS
    from prunebench.results.rows import suites
    from prunebench.runs import page_files, pages

    if format_name not in FORMATS:
        raise unknown("format", format_name, FORMATS, "prunebench leaderboard --help")
    if check and format_name != "markdown":
        raise PrunebenchError(f"--check is about pages, which are markdown; leave out --format {format_name}")
    if figures and (check or format_name != "markdown"):
        raise PrunebenchError("--figures draws for pages that are written; leave out --check and --format")
    names = [Path(suite).stem] if suite else list(suites(results))
    if not names:
        raise PrunebenchError(
            f"no results under {near(results)}/results; run something first, or name --results DIR"
        )
    made, without = pages.made(names, results)
    for name, why in without.items():
        echo(f"no page of {name}: {why}", err=True)
    if format_name != "markdown":
        echo(FORMATS[format_name]([*made.values()]).removesuffix("\n"))
    elif made:
        if not check:
            draw(made, results, figures)
        undrawn = page_files.undrawn(made, results)
        contents = page_files.contents(made, results)
        if suite is None:
            contents |= index(made, results)
            if not without:
                tell_left_over(page_files.left_over(made, results), check)
        if check:
            compare(contents, undrawn, results)
        else:
            write(contents)
            tell_undrawn(undrawn, results)
    if without:
        raise typer.Exit(1)


def draw(made: Mapping[str, Document], results: Path, missing: bool) -> None:
    """Draw the figures of pages that are outdated, and those that are missing if asked to."""
    from prunebench.figures import on_pages

    for document in made.values():
        for path in on_pages.draw(document, results, missing):
            echo(f"wrote {near(path)}")


def index(made: Mapping[str, Document], results: Path) -> dict[Path, str]:
    """Return the index of pages by its path; none where a file of the user's is there, which is told."""
    from prunebench.runs import page_files

    if not page_files.is_taken(results):
        return page_files.indexed(made, results)
    path = near(page_files.index_path(results))
    echo(f"no index of the pages: {path} was not made by prunebench, and is left as it is", err=True)
    return {}


def tell_left_over(paths: Sequence[Path], check: bool) -> None:
    """Say which files no row asks for any more. Raise PrunebenchError if that is a check."""
    if paths:
        line = f"made from rows that are gone: {_listed(paths)}; delete them"
        if check:
            raise PrunebenchError(line)
        echo(line, err=True)


def write(contents: Mapping[Path, str]) -> None:
    """Write pages, by their path, and say so."""
    for path, content in contents.items():
        replace_file(path, content.encode(), "--results")
        echo(f"wrote {near(path)}")


def tell_undrawn(paths: Sequence[Path], results: Path) -> None:
    """Say which figures the pages lack, and what draws them."""
    if paths:
        echo(f"without {_listed(paths)}; to draw: {_remake(results, figures=True)}", err=True)


def compare(contents: Mapping[Path, str], undrawn: Sequence[Path], results: Path) -> None:
    """Raise PrunebenchError where pages or figures that are there are not those that follow from `results`.

    undrawn: figures that are missing or outdated.
    """
    outdated = [
        path
        for path, content in contents.items()
        if not path.is_file() or path.read_bytes() != content.encode()
    ]
    if outdated or undrawn:
        remake = _remake(results, figures=bool(undrawn))
        raise PrunebenchError(f"not up to date: {_listed([*undrawn, *outdated])}; run: {remake}")
    echo(f"up to date: {_listed(contents)}")


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(str(near(path)) for path in paths)


def _remake(results: Path, figures: bool) -> str:
    """Return the command that makes pages, with figures if they are asked for."""
    return f"prunebench leaderboard{' --figures' if figures else ''} --results {near(results)}"
