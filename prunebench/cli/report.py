"""The command `report`: rows and stored artefacts as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import DataOption, ResultsOption, StoreOption, file_option, with_rows
from prunebench.errors import PrunebenchError
from prunebench.system.files import near, replace_file
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.figures.drawings import Places
    from prunebench.figures.report.content import Contents


def report(
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", help="A suite; may be repeated.", show_default="all with rows"),
    ] = None,
    output: Annotated[Path, file_option("--output", help="The file to write.")] = Path("report.html"),
    results: ResultsOption = Path("leaderboard"),
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Write a report of suites as one HTML file: figures, tables, claims and the origin of the rows."""
    from prunebench.figures.drawings import Places
    from prunebench.figures.report.page import check_replaceable, render
    from prunebench.pipeline.store import Store
    from prunebench.runs.format import size
    from prunebench.runs.places import folder

    if output.suffix != ".html":
        raise PrunebenchError(f"--output {output}: a report is a file that ends in .html")
    check_replaceable(output)
    names = with_rows([Path(name).stem for name in suite or ()], results)
    places = Places(results, folder("data", data), Store(folder("store", store)))
    content = render(_contents(names, places)).encode()
    replace_file(output, content, "--output")
    echo(f"wrote {near(output)}, {size(len(content))}")


def _contents(names: Sequence[str], places: Places) -> list[Contents]:
    """Return the contents of suites. Say which ones have nothing to show. Raise PrunebenchError if all."""
    from prunebench.figures.report.content import contents

    found: list[Contents] = []
    left_out: list[PrunebenchError] = []
    for name in names:
        try:
            found.append(contents(name, places))
        except PrunebenchError as error:
            left_out.append(error)
    if not found:
        raise left_out[0]
    for reason in left_out:
        echo(f"left out: {reason}", err=True)
    return found
