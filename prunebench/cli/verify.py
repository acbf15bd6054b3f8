"""The command `verify`: makes rows again, and says which agree."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import (
    DataOption,
    DeviceOption,
    ResultsOption,
    StageTimeoutOption,
    WorkersOption,
    folder_option,
)
from prunebench.errors import PrunebenchError
from prunebench.system.files import absolute, near
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.runs.verify import Verdict


def verify(
    rows: Annotated[
        Path | None,
        typer.Argument(metavar="ROWS", parser=absolute, help="A .jsonl file of rows, or a folder of them."),
    ] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="Instead: all rows of a suite.")] = None,
    results: ResultsOption = Path("leaderboard"),
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="So many random rows alone.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random choice.")] = 0,
    record: Annotated[
        bool, typer.Option("--record", help="Keep beside the rows which agreed, on which machine.")
    ] = False,
    store: Annotated[
        Path | None,
        folder_option(
            "--store", help="Keeps what is made, and is not made again.", show_default="a temporary one"
        ),
    ] = None,
    device: DeviceOption = "auto",
    data: DataOption = None,
    workers: WorkersOption = None,
    stage_timeout: StageTimeoutOption = None,
) -> None:
    """Make rows again with this installation, and say which agree. Fails where one differs."""
    from prunebench.pipeline.executors.engine import Engine
    from prunebench.pipeline.matrix import Matrix
    from prunebench.pipeline.store import Store
    from prunebench.runs import verify as verifying
    from prunebench.runs.places import folder, pick_device

    if (rows is None) == (suite is None):
        raise PrunebenchError(
            "say which rows: a .jsonl file, a folder, or --suite NAME with --results FOLDER"
        )
    found = verifying.rows_in(rows or results / "results" / Path(str(suite)).stem)
    chosen = verifying.sampled(found.rows, sample, seed)
    with ExitStack() as stack:
        scratch = store or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prunebench-")))
        place = Matrix([], Store(scratch), folder("data", data), pick_device(device))
        engine = Engine(workers=workers, stage_timeout=stage_timeout)
        verdicts = verifying.verdicts(chosen, results, place, engine)
    show(verdicts)
    for line in found.complaints:
        echo(f"cannot be read: {line}", err=True)
    if record:
        new = verifying.recorded(verdicts, results)
        echo(f"recorded {new} of them in {near(results)}/results")
    if found.complaints or any(verdict.word == verifying.DIFFERS for verdict in verdicts):
        raise typer.Exit(1)


def show(verdicts: list[Verdict]) -> None:
    """Print a line for each row, and the number of rows with each verdict."""
    from prunebench.runs.format import table
    from prunebench.runs.verify import VERDICTS

    header = ["dataset", "method", "ratio", "seed", "row", "here", "verdict", ""]
    echo(table(map(columns, verdicts), header))
    counts = Counter(verdict.word for verdict in verdicts)
    echo("\n" + ", ".join(f"{counts[word]} {word}" for word in VERDICTS))


def columns(verdict: Verdict) -> list[object]:
    """Return a verdict as a line of the table."""
    row, again = verdict.row, verdict.again
    here = "" if again is None else f"{again.accuracy:.2f}"
    return [
        row.dataset,
        row.method,
        row.ratio,
        row.seed,
        f"{row.accuracy:.2f}",
        here,
        verdict.word,
        verdict.why,
    ]
