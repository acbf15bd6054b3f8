"""The commands `push` and `pull`: artefacts into a folder, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import CellOptions, cell_options, split
from prunebench.errors import PrunebenchError
from prunebench.system.files import absolute, check_folder, near
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.runs.exchange import Exchange

KindsOption = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        help="Kinds of stages, such as labels,scores, or all.",
        show_default="all before the selection",
    ),
]
FolderArgument = Annotated[
    Path, typer.Argument(parser=absolute, metavar="FOLDER", help="The folder that is shared.")
]


@cell_options(without=("device",))
def push(options: CellOptions, folder: FolderArgument, kinds: KindsOption = None) -> None:
    """Copy stored stages of the chosen cells into a folder, from which others pull them."""
    from prunebench.pipeline.store import Store
    from prunebench.runs.exchange import exchange, kinds_of

    chosen = kinds_of(split(kinds))
    matrix = options.matrix()
    check_folder(folder, "FOLDER")
    report(exchange(matrix, chosen, matrix.store, Store(folder)), f"pushed to {near(folder)}")


@cell_options(without=("device",))
def pull(options: CellOptions, folder: FolderArgument, kinds: KindsOption = None) -> None:
    """Copy stages of the chosen cells out of a folder that push wrote. Each is verified first."""
    from prunebench.pipeline.store import Store
    from prunebench.runs.exchange import exchange, kinds_of

    chosen = kinds_of(split(kinds))
    matrix = options.matrix()
    if not folder.is_dir():
        raise PrunebenchError(f"there is no folder {near(folder)}; name one that prunebench push wrote")
    check_folder(matrix.store.root, "--store")
    report(exchange(matrix, chosen, Store(folder), matrix.store), f"pulled from {near(folder)}")


def report(done: Exchange, title: str) -> None:
    """Print what became of the stages. Exit with 1 if an entry is not what its key promises."""
    from prunebench.runs.format import size, table

    header, rows = done.table()
    echo(table(rows, header))
    copied, stages = len(done.stages["copied"]), sum(map(len, done.stages.values()))
    echo(f"\n{title}: {copied} of {stages} stages, {size(done.bytes)}")
    for line in done.refused():
        echo(f"{line}; it was not copied", err=True)
    if done.refused():
        raise typer.Exit(1)
