"""The command `figures`: from rows and the store to SVG and PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import (
    DataOption,
    DatasetsOption,
    DeviceOption,
    MethodsOption,
    RatiosOption,
    RecipeOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    StoreOption,
    SuiteOption,
    WorkersOption,
    build_matrix,
    folder_option,
    listed,
    numbers,
    split,
)
from prunebench.errors import PrunebenchError, unknown
from prunebench.pipeline.store import Store
from prunebench.results.rows import read
from prunebench.runs.places import folder
from prunebench.suites import schema
from prunebench.system.files import near
from prunebench.system.terminal import echo

NAMES = ("accuracy", "labels", "embeddings", "classes", "kept")


def figures(
    name: Annotated[str, typer.Argument(help=", ".join(NAMES))],
    suite: SuiteOption = None,
    methods: MethodsOption = None,
    datasets: DatasetsOption = None,
    ratios: RatiosOption = None,
    seeds: SeedsOption = None,
    recipe: RecipeOption = None,
    changes: SetOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    data: DataOption = None,
    results: ResultsOption = Path("leaderboard"),
    workers: WorkersOption = None,
    output: Annotated[Path, folder_option("--output", help="Where figures are written.")] = Path("figures"),
) -> None:
    """Draw a figure of each dataset of a suite, as SVG and PNG: from its rows, and embeddings."""
    from prunebench.figures import drawings
    from prunebench.figures.sources import Chosen
    from prunebench.figures.style import save

    if name not in NAMES:
        raise unknown("figure", name, NAMES, "prunebench figures --help")
    known = Path(suite or "standard").stem
    if name == "embeddings" or (name == "classes" and not read(results, known)[0]):
        matrix = build_matrix(suite, methods, datasets, ratios, seeds, recipe, changes, device, store, data)
        note = schema.read(suite or "standard").file.note
        found = (
            drawings.classes(matrix, note)
            if name == "classes"
            else drawings.embeddings(matrix, note, workers)
        )
    elif changes:
        raise PrunebenchError(
            f"figures {name} draws rows that are there; name a variant in --methods, not --set"
        )
    else:
        chosen = Chosen(
            methods=split(methods),
            datasets=split(datasets),
            ratios=numbers("--ratios", ratios, 100),
            seeds=listed("--seeds", seeds),
            recipe=recipe,
            families=name == "labels",
        )
        places = drawings.Places(results, folder("data", data), Store(folder("store", store)))
        found = drawings.from_rows(name, known, chosen, places)
    left_out: list[PrunebenchError] = []
    drawn = 0
    for drawing in found:
        if drawing.figure is None:
            left_out += [drawing.error] if drawing.error else []
            continue
        drawn += 1
        for path in save(drawing.figure, output / f"{name}-{drawing.stem}"):
            echo(f"wrote {near(path)}")
    if not drawn:
        raise left_out[0]
    for error in left_out:
        echo(f"left out: {error}", err=True)
