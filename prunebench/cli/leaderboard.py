"""The command `leaderboard`: makes pages and their index from rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.options import ResultsOption, SuiteOption, with_rows
from prunebench.errors import PrunebenchError, unknown
from prunebench.system.files import near, replace_file
from prunebench.system.terminal import echo

if TYPE_CHECKING:
    from prunebench.results.document import Document


def leaderboard(
    results: ResultsOption = Path("leaderboard"),
    suite: SuiteOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a page is not up to date.")
    ] = False,
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="markdown, text, csv, latex, json: markdown writes pages, the others print their tables.",
        ),
    ] = "markdown",
    figures: Annotated[
        bool,
        typer.Option(
            "--figures", help="Draw the figure of every board; without it, only those drawn before."
        ),
    ] = False,
) -> None:
    """Make the page of every suite that has results and their index, or print them in another format."""
    from prunebench.results.render.formats import FORMATS
    from prunebench.runs import page_files, pages

    if format_name not in FORMATS:
        raise unknown("format", format_name, FORMATS, "prunebench leaderboard --help")
    if check and format_name != "markdown":
        raise PrunebenchError(f"--check is about pages, which are markdown; leave out --format {format_name}")
    if figures and (check or format_name != "markdown"):
        raise PrunebenchError("--figures draws for pages that are written; leave out --check and --format")
    names = with_rows([Path(suite).stem] if suite else [], results)
    made, without = pages.made(names, results)
    for name, why in without.items():
        echo(f"no page of {name}: {why}", err=True)
    if format_name != "markdown":
        echo(FORMATS[format_name]([*made.values()]).removesuffix("\n"))
    elif made:
        if not check:
            draw(made, results, figures)
        undrawn = page_files.undrawn(made, results)
        contents = page_files.contents(made, results)
        if suite is None:
            contents |= index(made, results)
            if not without:
                tell_left_over(page_files.left_over(made, results), check)
        if check:
            compare(contents, undrawn, results)
        else:
            write(contents)
            tell_undrawn(undrawn, results)
    if without:
        raise typer.Exit(1)


def draw(made: Mapping[str, Document], results: Path, missing: bool) -> None:
    """Draw the figures of pages that are outdated, and those that are missing if asked to."""
    from prunebench.figures import on_pages

    for document in made.values():
        for path in on_pages.draw(document, results, missing):
            echo(f"wrote {near(path)}")


def index(made: Mapping[str, Document], results: Path) -> dict[Path, str]:
    """Return the index of pages by its path; none where a file of the user's is there, which is told."""
    from prunebench.runs import page_files

    if not page_files.is_taken(results):
        return page_files.indexed(made, results)
    path = near(page_files.index_path(results))
    echo(f"no index of the pages: {path} was not made by prunebench, and is left as it is", err=True)
    return {}


def tell_left_over(paths: Sequence[Path], check: bool) -> None:
    """Say which files no row asks for any more. Raise PrunebenchError if that is a check."""
    if paths:
        line = f"made from rows that are gone: {_listed(paths)}; delete them"
        if check:
            raise PrunebenchError(line)
        echo(line, err=True)


def write(contents: Mapping[Path, str]) -> None:
    """Write pages, by their path, and say so."""
    for path, content in contents.items():
        replace_file(path, content.encode(), "--results")
        echo(f"wrote {near(path)}")


def tell_undrawn(paths: Sequence[Path], results: Path) -> None:
    """Say which figures the pages lack, and what draws them."""
    if paths:
        echo(f"without {_listed(paths)}; to draw: {_command(results, figures=True)}", err=True)


def compare(contents: Mapping[Path, str], undrawn: Sequence[Path], results: Path) -> None:
    """Raise PrunebenchError where pages or figures that are there are not those that follow from `results`.

    undrawn: figures that are missing or outdated.
    """
    outdated = [
        path
        for path, content in contents.items()
        if not path.is_file() or path.read_bytes() != content.encode()
    ]
    if outdated or undrawn:
        command = _command(results, figures=bool(undrawn))
        raise PrunebenchError(f"not up to date: {_listed([*undrawn, *outdated])}; run: {command}")
    echo(f"up to date: {_listed(contents)}")


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(str(near(path)) for path in paths)


def _command(results: Path, figures: bool) -> str:
    """Return the command that makes pages, with figures if they are asked for."""
    return f"prunebench leaderboard{' --figures' if figures else ''} --results {near(results)}"
