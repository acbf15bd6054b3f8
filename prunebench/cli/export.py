"""The command `export`: writes the subset of a finished cell to a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from prunebench.cli.options import CellOptions, cell_options
from prunebench.runs.export import kept_by, write
from prunebench.runs.select import choose_one, command
from prunebench.system.terminal import echo


@cell_options(without=("methods", "datasets", "ratios", "seeds", "on_bad", "device"))
def export(
    options: CellOptions,
    method: Annotated[str, typer.Option("--method", help="The method that chose the images.")],
    dataset: Annotated[str, typer.Option("--dataset", help="The dataset, or folder:PATH@PIXELS.")],
    ratio: Annotated[int, typer.Option("--ratio", min=0, max=99, help="Percent pruned.")],
    output: Annotated[
        str, typer.Option("--output", help="A .npy, .csv or .json file, or FOLDER/ for links to the images.")
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the cell.")] = 0,
) -> None:
    """Write which images a finished cell keeps."""
    filters = replace(options.filters(), methods=[method], datasets=[dataset], ratios=[ratio], seeds=[seed])
    matrix = choose_one(options.suite, filters, store=options.store, data=options.data)
    kept = kept_by(matrix, command(options.suite, filters, store=options.store, data=options.data))
    outcome = "wrote" if write(kept, output) else "up to date:"
    echo(
        f"{outcome} {output}: {len(kept.index)} of {kept.row.images} images of "
        f"{kept.row.dataset}, {kept.row.labels_total} labels in all"
    )
