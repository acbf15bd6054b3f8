"""The command `report`: rows and stored artefacts as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import DataOption, ResultsOption, StoreOption, file_option
from prunebench.errors import PrunebenchError
from prunebench.pipeline.store import Store
from prunebench.runs.places import folder
from prunebench.system.files import near, replace_file
from prunebench.system.terminal import echo


def report(
    suite: Annotated[
        list[str] | None, typer.Option("--suite", help="A suite; may be repeated. [default: all with rows]")
    ] = None,
    output: Annotated[Path, file_option("--output", help="The file to write.")] = Path("report.html"),
    results: ResultsOption = Path("leaderboard"),
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Write a report of suites as one HTML file: figures, tables, claims and the origin of the rows."""
    from prunebench.figures.drawings import Places
    from prunebench.figures.report import page
    from prunebench.results.rows import suites

    if output.suffix != ".html":
        raise PrunebenchError(f"--output {output}: a report is a file that ends in .html")
    with_rows = list(suites(results))
    names = [Path(name).stem for name in suite or with_rows]
    for name in names:
        if name not in with_rows:
            raise PrunebenchError(
                f"no rows of suite {name!r} under {near(results)}/results (there are: "
                f"{', '.join(with_rows) or 'none'}); choose with --suite and --results, or run it first"
            )
    if not names:
        raise PrunebenchError(
            f"no results under {near(results)}/results; run something first, or name --results DIR"
        )
    places = Places(results, folder("data", data), Store(folder("store", store)))
    content = page.report(names, places).encode()
    replace_file(output, content, "--output")
    echo(f"wrote {near(output)}, {len(content) / 1e6:.1f} MB")
