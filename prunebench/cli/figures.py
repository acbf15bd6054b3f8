"""The command `figures`: draws rows and stored artefacts as SVG and PNG files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import CellOptions, ResultsOption, WorkersOption, cell_options, folder_option
from prunebench.errors import PrunebenchError, unknown
from prunebench.system.files import near
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.figures.drawings import Drawing

NAMES = ("accuracy", "labels", "embeddings", "classes", "kept")


@cell_options(without=("tuning", "repeats", "on_bad"))
def figures(
    options: CellOptions,
    name: Annotated[str, typer.Argument(help=", ".join(NAMES))],
    results: ResultsOption = Path("leaderboard"),
    workers: WorkersOption = None,
    output: Annotated[Path, folder_option("--output", help="Where figures are written.")] = Path("figures"),
) -> None:
    """Draw one figure per dataset of a suite, from its rows or embeddings, as SVG and PNG."""
    from prunebench.figures.style import save

    if name not in NAMES:
        raise unknown("figure", name, NAMES, "prunebench figures --help")
    left_out: list[PrunebenchError] = []
    count = 0
    for drawing in drawn(options, name, results, workers):
        if drawing.figure is None:
            if drawing.error:
                left_out.append(drawing.error)
            continue
        count += 1
        for path in save(drawing.figure, output / f"{name}-{drawing.stem}"):
            echo(f"wrote {near(path)}")
    if not count:
        raise left_out[0]
    for error in left_out:
        echo(f"left out: {error}", err=True)


def drawn(options: CellOptions, name: str, results: Path, workers: int | None) -> Iterable[Drawing]:
    """Return the figures of a name, one per dataset: from rows, or from the datasets themselves.

    Raise PrunebenchError for an option that such figures do not take.
    """
    from prunebench.figures import drawings
    from prunebench.figures.sources import Chosen
    from prunebench.pipeline.store import Store
    from prunebench.results.rows import read
    from prunebench.runs.places import folder
    from prunebench.suites import schema

    suite_name = Path(options.suite or "standard").stem
    # Without rows, the classes are drawn from the dataset itself.
    if name == "embeddings" or (name == "classes" and not read(results, suite_name)[0]):
        matrix = options.matrix()
        note = schema.read(options.suite or "standard").file.note
        if name == "classes":
            return drawings.classes(matrix, note)
        return drawings.embeddings(matrix, note, workers)
    if options.changes:
        raise PrunebenchError(
            f"figures {name} only draws rows that exist; choose a variant by --methods, not by --set"
        )
    filters = options.filters()
    chosen = Chosen(
        methods=filters.methods,
        datasets=filters.datasets,
        ratios=filters.ratios,
        seeds=filters.seeds,
        recipe=filters.recipe,
        families=name == "labels",
    )
    places = drawings.Places(results, folder("data", options.data), Store(folder("store", options.store)))
    return drawings.from_rows(name, suite_name, chosen, places)
