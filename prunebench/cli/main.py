"""The command line: parsing and printing only.

Results go to stdout, progress and errors to stderr. See `terminal` for how a command ends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from prunebench.cli.export import export
from prunebench.cli.figures import figures
from prunebench.cli.options import (
    DataOption,
    DatasetsOption,
    DeviceOption,
    MethodsOption,
    OnBadOption,
    RatiosOption,
    RecipeOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    StageTimeoutOption,
    StoreOption,
    SuiteOption,
    TuningOption,
    WorkersOption,
    build_matrix,
)
from prunebench.cli.paper import claims
from prunebench.cli.photos import draw, evaluate, prune
from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.registry import KINDS, load
from prunebench.runs.places import folder, pick_device
from prunebench.suites import resolve, schema
from prunebench.system import terminal
from prunebench.system.files import near, replace_file
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.pipeline.matrix import Matrix

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Which part of a training set is worth keeping, and what does it cost to find out?",
)


def main() -> NoReturn:
    """Run the command line within a process that is not all its own."""
    sys.exit(terminal.ended(app))


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        echo(f"prunebench {version('prunebench')}")
        raise typer.Exit


@app.callback()
def options(
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Do nothing where a plugin is broken.")] = False,
) -> None:
    """Options that stand before the command."""
    terminal.state["traceback"] = show_traceback
    if strict:
        load().check_healthy()


@app.command()
def run(
    suite: SuiteOption = None,
    methods: MethodsOption = None,
    datasets: DatasetsOption = None,
    ratios: RatiosOption = None,
    seeds: SeedsOption = None,
    recipe: RecipeOption = None,
    tuning: TuningOption = None,
    on_bad: OnBadOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    results: ResultsOption = Path("leaderboard"),
    executor: Annotated[str, typer.Option("--executor", help="What runs the stages: local.")] = "local",
    workers: WorkersOption = None,
    fresh: Annotated[
        list[str] | None, typer.Option("--fresh", help="PART whose stages are made again.")
    ] = None,
    stage_timeout: StageTimeoutOption = None,
) -> None:
    """Run cells, print a line for each and the leaderboard. The same command again resumes."""
    from prunebench.pipeline.executors.local import Engine
    from prunebench.pipeline.forecast import learnt
    from prunebench.runs import listing
    from prunebench.runs.pages import remember
    from prunebench.runs.run import get_ready, run_matrix

    if not any((suite, methods, datasets, ratios, seeds, recipe, tuning)):
        for line in listing.overview(load(), folder("data", data), pick_device(device)):
            echo(line)
        return
    matrix = build_matrix(
        suite, methods, datasets, ratios, seeds, recipe, changes, device, store, data, tuning, on_bad
    )
    if not (suite or datasets):
        raise PrunebenchError(
            "say on which datasets: --datasets NAME,NAME or, for all that can be had, --datasets all. "
            "See: prunebench list datasets"
        )
    get_ready(matrix, results)
    remake(matrix, fresh or [])
    if told := remember(schema.read(suite or "standard"), results):
        echo(told, err=True)
    engine = Engine(name=executor, workers=workers, stage_timeout=stage_timeout)
    failures = run_matrix(matrix, learnt(matrix), results, engine)
    echo()
    show_page(matrix.cells[0].suite, results)
    for title, message in failures.items():
        echo(f"failed: {title}: {message}", err=True)
    if failures:
        raise typer.Exit(1)


def remake(matrix: Matrix, parts: list[str]) -> None:
    """Forget what is stored of the stages that run one of these parts, and of all that follows from them."""
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
    from prunebench.results import render
    from prunebench.runs.pages import page_of, page_path

    page = page_of(name, results)
    path = page_path(name, results)
    replace_file(path, render.markdown(page).encode(), "--results")
    echo(render.text(page, only=lambda table: table.title in ("Accuracy", "Reference points")))
    echo(f"\nThe whole page: {near(path)}")


@app.command()
def plan(
    suite: SuiteOption = None,
    methods: MethodsOption = None,
    datasets: DatasetsOption = None,
    ratios: RatiosOption = None,
    seeds: SeedsOption = None,
    recipe: RecipeOption = None,
    tuning: TuningOption = None,
    on_bad: OnBadOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    each: Annotated[bool, typer.Option("--each", help="One line per stage, with its key.")] = False,
) -> None:
    """Show every stage of the chosen cells: stored or to make, for which methods, how long it will take."""
    print_plan(
        build_matrix(
            suite, methods, datasets, ratios, seeds, recipe, changes, device, store, data, tuning, on_bad
        ),
        each,
    )


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


@app.command()
def status(
    suite: SuiteOption = None,
    methods: MethodsOption = None,
    datasets: DatasetsOption = None,
    ratios: RatiosOption = None,
    seeds: SeedsOption = None,
    recipe: RecipeOption = None,
    tuning: TuningOption = None,
    on_bad: OnBadOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Show how many of the chosen cells are done, running, interrupted, failed and left."""
    from prunebench.runs import status
    from prunebench.runs.format import table

    matrix = build_matrix(
        suite, methods, datasets, ratios, seeds, recipe, changes, device, store, data, tuning, on_bad
    )
    rows, failures = status.status(matrix)
    echo(table(rows, ["dataset", "method", *status.SHOWN]))
    for line in failures:
        echo(line)


@app.command()
def labels(
    suite: SuiteOption = None,
    methods: MethodsOption = None,
    datasets: DatasetsOption = None,
    seeds: SeedsOption = None,
    recipe: RecipeOption = None,
    tuning: TuningOption = None,
    on_bad: OnBadOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    make: Annotated[
        bool, typer.Option("--make", help="First make the labels that are missing, and nothing else.")
    ] = False,
    workers: WorkersOption = None,
) -> None:
    """Show how good the pseudo-labels of the chosen methods are, labelers by datasets, from the store."""
    from prunebench.pipeline.executors.local import Engine
    from prunebench.pipeline.forecast import learnt
    from prunebench.runs import label_report as judging
    from prunebench.runs.format import table
    from prunebench.runs.run import get_ready, make_labels

    matrix = build_matrix(
        suite, methods, datasets, None, seeds, recipe, changes, device, store, data, tuning, on_bad
    )
    failures: dict[str, str] = {}
    if make:
        get_ready(matrix)
        failures = make_labels(matrix, learnt(matrix), Engine(workers=workers))
    groups = judging.judged(matrix)
    if not groups:
        raise PrunebenchError("no labeler of these methods guesses a label. See: prunebench list methods")
    header, rows = judging.overview(groups)
    echo("All images labelled right, in percent; clusters after the best one-to-one matching")
    echo(table(rows, header))
    for dataset in dict.fromkeys(group.dataset for group in groups):
        header, rows = judging.details(groups, dataset)
        echo(f"\n{dataset}, the images whose label was not paid for, in percent")
        echo(table(rows, header))
        header, rows = judging.histogram(groups, dataset)
        echo("\n" + table(rows, header) if rows else "\nNothing stored; make it with --make.")
    for name, message in failures.items():
        echo(f"failed: {name}: {message}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(help="datasets, backbones, labelers, scorers, selectors, methods, suites, plugins"),
    ],
    data: DataOption = None,
) -> None:
    """List what is installed."""
    from prunebench.runs import listing
    from prunebench.runs.format import table

    if what not in (*KINDS, "suites", "plugins"):
        raise unknown("list", what, [*KINDS, "suites", "plugins"], "prunebench list --help")
    header, rows = listing.rows(what, load(), lambda: folder("data", data))
    echo(table(rows, header))
    if what != "plugins":
        for plugin in load().plugins:
            if plugin.error:
                echo(f"broken plugin {plugin.distribution} {plugin.release}: {plugin.error}", err=True)


@app.command()
def leaderboard(
    results: ResultsOption = Path("leaderboard"),
    suite: SuiteOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a page is not up to date.")
    ] = False,
) -> None:
    """Make the markdown page of every suite that has results."""
    from prunebench.results.rows import suites
    from prunebench.runs import pages

    names = [Path(suite).stem] if suite else list(suites(results))
    if not names:
        raise PrunebenchError(
            f"no results under {near(results)}/results; run something first, or name --results DIR"
        )
    outdated = []
    made, without = pages.made(names, results)
    for name, page in made.items():
        path = pages.page_path(name, results)
        if check:
            if not path.is_file() or path.read_bytes() != page.encode():
                outdated.append(str(near(path)))
        else:
            replace_file(path, page.encode(), "--results")
            echo(f"wrote {near(path)}")
    for name, why in without.items():
        echo(f"no page of {name}: {why}", err=True)
    if outdated:
        raise PrunebenchError(
            f"not up to date: {', '.join(outdated)}; run: prunebench leaderboard --results {near(results)}"
        )
    if check and made:
        echo(f"up to date: {', '.join(str(near(pages.page_path(name, results))) for name in made)}")
    if without:
        raise typer.Exit(1)


@app.command()
def check(
    part: Annotated[
        str, typer.Argument(help="The name of a backbone, labeler, scorer or selector, or KIND:NAME.")
    ],
    changes: SetOption = None,
) -> None:
    """Put an installed part through the contract that every part keeps; --set makes a slow one short."""
    from prunebench.parts import conformance
    from prunebench.parts.identity import change

    kind, _, part = part.rpartition(":")
    given = dict(map(resolve.parse_change, changes or []))
    if strange := [path for path in given if path.partition(".")[0] != part]:
        raise PrunebenchError(f"--set {strange[0]}: only {part} is checked; write --set {part}.FIELD=VALUE")
    fields = {path.partition(".")[2]: value for path, value in given.items()}
    found = [
        change(load().part(kinds.removesuffix("s"), part), fields, part)
        for kinds in ("backbones", "labelers", "scorers", "selectors")
        if part in load().found[kinds] and kind in ("", kinds.removesuffix("s"))
    ]
    if not found:
        everything = [
            name
            for kinds in KINDS
            if kinds not in ("datasets", "methods") and kind in ("", kinds.removesuffix("s"))
            for name in load().found[kinds]
        ]
        raise unknown("part", part, everything, "prunebench list scorers")
    checks = [outcome for one in found for outcome in conformance.check(one)]
    for outcome in checks:
        echo(
            f"{'ok    ' if outcome.error is None else 'FAILED'}  {outcome.name}"
            + (f": {outcome.error}" if outcome.error else "")
        )
    if any(outcome.error for outcome in checks):
        raise typer.Exit(1)


@app.command()
def doctor(data: DataOption = None, store: StoreOption = None) -> None:
    """Show what can run here, and what to install for the rest."""
    from prunebench.runs import doctor

    for line in doctor.doctor(load(), folder("data", data), folder("store", store)):
        echo(line)


app.command()(figures)
app.command()(export)
app.command()(draw)
app.command()(prune)
app.command()(evaluate)
app.command()(claims)
