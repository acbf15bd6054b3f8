"""The command `new`: writes a package with a plugin of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.system.terminal import echo


def new(
    kind: Annotated[str, typer.Argument(help="backbone, labeler, scorer, selector, draw, dataset")],
    name: Annotated[str, typer.Argument(help="Its name, such as margin_std.")],
) -> None:
    """Write a package with a part or dataset that works, for you to edit."""
    from prunebench.parts.registry import load
    from prunebench.runs import scaffold

    folder = scaffold.create(kind, name, Path.cwd(), load())
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    echo(f"wrote {folder.name}/: {files}")
    echo(f"Try it: pip install -e ./{folder.name} && prunebench check {name}")
