"""The command `figures`: draws rows and stored artefacts as SVG and PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import CellOptions, ResultsOption, WorkersOption, cell_options, folder_option
from prunebench.errors import PrunebenchError, unknown
from prunebench.system.files import near
from prunebench.system.terminal import echo

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
    from prunebench.figures import drawings
    from prunebench.figures.sources import Chosen
    from prunebench.figures.style import save
    from prunebench.pipeline.store import Store
    from prunebench.results.rows import read
    from prunebench.runs.places import folder
    from prunebench.suites import schema

    if name not in NAMES:
        raise unknown("figure", name, NAMES, "prunebench figures --help")
    suite_name = Path(options.suite or "standard").stem
    # Without rows, the classes are drawn from the dataset itself.
    if name == "embeddings" or (name == "classes" and not read(results, suite_name)[0]):
        matrix = options.matrix()
        note = schema.read(options.suite or "standard").file.note
        if name == "classes":
            drawn = drawings.classes(matrix, note)
        else:
            drawn = drawings.embeddings(matrix, note, workers)
    elif options.changes:
        raise PrunebenchError(
            f"figures {name} only draws rows that exist; choose a variant by --methods, not by --set"
        )
    else:
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
        drawn = drawings.from_rows(name, suite_name, chosen, places)
    left_out: list[PrunebenchError] = []
    count = 0
    for drawing in drawn:
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
