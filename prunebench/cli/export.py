"""The command `export`: writes the subset of a finished cell, or what methods say of every image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import CellOptions, cell_options, split
from prunebench.errors import PrunebenchError
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.suites.cells import Filters


@cell_options(without=("methods", "datasets", "ratios", "seeds", "on_bad", "device"))
def export(
    options: CellOptions,
    dataset: Annotated[str, typer.Option("--dataset", help="The dataset, or folder:PATH@PIXELS.")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            help="A .npy, .csv or .json file, or FOLDER/ for links to the images. Of every image: a "
            ".safetensors file, or a .csv or .parquet of scores.",
        ),
    ],
    method: Annotated[
        str | None, typer.Option("--method", help="The method whose subset is written, at one --ratio.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option("--scores", help="Methods whose scores are written, or all.")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option("--embeddings", help="Methods whose embeddings are written, or all.")
    ] = None,
    dynamics: Annotated[
        str | None, typer.Option("--dynamics", help="Methods whose training dynamics are written, or all.")
    ] = None,
    ratio: Annotated[int | None, typer.Option("--ratio", min=0, max=99, help="Percent pruned.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the cell.")] = 0,
    card: Annotated[
        bool,
        typer.Option("--card", help="With --method: write FOLDER with a dataset card, as for Hugging Face."),
    ] = False,
) -> None:
    """Write which images a finished cell keeps, or the scores, embeddings or dynamics of every image."""
    asked = {"method": method, "scores": scores, "embeddings": embeddings, "dynamics": dynamics}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise PrunebenchError("say what to write with one of --method, --scores, --embeddings and --dynamics")
    ((what, names),) = given.items()
    ratios = None if ratio is None else [ratio]
    filters = replace(options.filters(), datasets=[dataset], ratios=ratios, seeds=[seed])
    if what != "method":
        if card:
            raise PrunebenchError("--card describes a subset; choose one with --method and --ratio")
        _of_every_image(options, replace(filters, methods=split(names)), what, output)
        return
    if ratio is None:
        raise PrunebenchError("a subset has a ratio; choose one with --ratio PERCENT")
    _subset(options, replace(filters, methods=[names]), output, card)


def _subset(options: CellOptions, filters: Filters, output: str, card: bool) -> None:
    from prunebench.runs.export import kept_by, write
    from prunebench.runs.export_card import write_card
    from prunebench.runs.select import choose_one, command

    writer = write_card if card else write
    matrix = choose_one(options.suite, filters, store=options.store, data=options.data)
    kept = kept_by(matrix, command(options.suite, filters, store=options.store, data=options.data))
    outcome = "wrote" if writer(kept, output) else "up to date:"
    echo(
        f"{outcome} {output}: {len(kept.index)} of {kept.row.images} images of "
        f"{kept.row.dataset}, {kept.row.labels_total} labels in all"
    )


def _of_every_image(options: CellOptions, filters: Filters, kind: str, output: str) -> None:
    from prunebench.runs import export_artefacts
    from prunebench.runs.select import choose, command

    matrix = choose(options.suite, filters, device="cpu", store=options.store, data=options.data)
    made = export_artefacts.exported(
        matrix,
        kind,
        command(options.suite, filters, store=options.store, data=options.data),
        everything=filters.methods == ["all"],
    )
    outcome = "wrote" if export_artefacts.write(made, output) else "up to date:"
    header = made.header
    methods = {name for origin in header.artefacts.values() for name in origin.methods}
    asked = {cell.method.name for cell in matrix.cells}
    echo(
        f"{outcome} {output}: {kind} of {len(methods)} of {len(asked)} methods, "
        f"{header.images} images of {header.dataset}, fingerprint {header.fingerprint[:12]}"
    )
    for line in made.left_out:
        echo(f"left out: {line}", err=True)
