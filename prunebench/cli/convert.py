"""The command `convert`: what `draw` or `prune` chose, for the programs in which people label and train."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import DataOption, StoreOption, file_option
from prunebench.system.files import home
from prunebench.system.terminal import echo


def convert(
    table: Annotated[Path, typer.Argument(parser=home, help="The .csv that prunebench draw or prune wrote.")],
    to: Annotated[str, typer.Option("--to", help="csv, label-studio, cvat, fiftyone, links or parquet.")],
    output: Annotated[
        Path, file_option("--output", help="The folder to write; for csv and parquet, the file.")
    ],
    folder: Annotated[
        Path | None, file_option("--folder", help="Where the images are.", show_default="as for prune")
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix",
            help="What stands before each file in Label Studio or CVAT, such as https://host/photos/.",
            show_default="as each serves local files",
        ),
    ] = None,
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Write the chosen images for Label Studio, CVAT, FiftyOne or a training. `prune` reads labels back."""
    from prunebench.photos.convert import convert
    from prunebench.photos.targets import PARTIAL
    from prunebench.runs.kept import STATUSES

    written, read = convert(table, to, output, folder=folder, prefix=prefix, store=store, data=data)
    counts = Counter(photo.status for photo in read.photos)
    shown = ", ".join(f"{counts[status]:,} {status}" for status in PARTIAL.get(to, STATUSES))
    echo(f"wrote {output}: {shown}" if written else f"{output} is up to date: {shown}")
