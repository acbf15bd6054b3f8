"""The command `look`: what `prune` decided, in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import DataOption, StoreOption, file_option
from prunebench.errors import PrunebenchError
from prunebench.system.files import home, near, replace_file
from prunebench.system.terminal import echo


def look(
    kept: Annotated[Path, typer.Argument(parser=home, help="The .csv that prunebench prune wrote.")],
    output: Annotated[Path, file_option("--output", help="The file to write.")] = Path("look.html"),
    folder: Annotated[
        Path | None, file_option("--folder", help="Where the images are.", show_default="as for prune")
    ] = None,
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Write a page of pictures: what to label, what is unsure, what is dropped, and the duplicates."""
    from prunebench.figures.look.content import overview
    from prunebench.figures.look.page import SIDE, render
    from prunebench.figures.report.page import check_replaceable
    from prunebench.parts.registry import load
    from prunebench.photos.folder import check_outside, matched, scan
    from prunebench.photos.prune import remembered
    from prunebench.photos.source import folder_of
    from prunebench.pipeline.store import Store
    from prunebench.runs import places
    from prunebench.runs.format import size
    from prunebench.runs.kept import read

    if output.suffix != ".html":
        raise PrunebenchError(f"--output {output}: a page is a file that ends in .html")
    check_replaceable(output)
    lines = read(kept)
    origin = remembered([(line.file, line.status) for line in lines], Store(places.folder("store", store)))
    if folder is None and "folder" not in origin:
        raise PrunebenchError(
            f"{kept} lists other files than prunebench prune wrote with this --store; "
            "say where the images are: --folder FOLDER"
        )
    top = folder_of(folder or origin["folder"], data)
    check_outside(top, output, "--output")
    page = overview(kept, lines, origin)
    meant = matched(kept, page.files, scan(top, "skip"), top)
    root = places.folder("data", data)
    names, pixels = load().get("datasets", "photos").squares(top, [*meant.values()], root, SIDE)
    by_name = dict(zip(names, pixels, strict=True))
    pictures = {file: by_name[name] for file, name in meant.items() if name in by_name}
    content = render(page, pictures).encode()
    replace_file(output, content, "--output")
    echo(f"wrote {near(output)}, {size(len(content))}: {len(pictures):,} of {len(lines):,} images")
