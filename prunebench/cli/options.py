"""Options that several commands share, and the matrix of cells that they choose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunebench.errors import PrunebenchError
from prunebench.runs.select import choose
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench.system.files import absolute, home

if TYPE_CHECKING:
    from prunebench.pipeline.matrix import Matrix


def file_option(name: str, **more: Any) -> Any:
    """Return an option that takes a path. ~ stands for the home folder."""
    return typer.Option(name, parser=home, metavar="PATH", **more)


def folder_option(name: str, **more: Any) -> Any:
    """Return an option that takes a folder. The path is absolute, as plugins may change folders."""
    return typer.Option(name, parser=absolute, metavar="FOLDER", **more)


MethodsOption = Annotated[str | None, typer.Option("--methods", help="Names with commas, or all.")]
DatasetsOption = Annotated[
    str | None, typer.Option("--datasets", help="Names with commas, or folder:PATH@PIXELS.")
]
RatiosOption = Annotated[str | None, typer.Option("--ratios", help="Percent pruned, such as 30,90.")]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", help="A count (3 means 0,1,2) or a list (0,3 or 3,).")
]
SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="A shipped suite or a .toml file. [default: standard]")
]
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="How networks are trained.")]
TuningOption = Annotated[
    str | None, typer.Option("--tuning", help="How values are chosen. [default: as the suite says]")
]
OnBadOption = Annotated[
    str | None, typer.Option("--on-bad", help="Photos that cannot be read: fail or skip. [default: fail]")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="PART.field=value: a variant with its own name.")
]
StoreOption = Annotated[
    Path | None,
    folder_option(
        "--store", envvar="PRUNEBENCH_STORE", help="Where artefacts are kept. [default: user cache]"
    ),
]
DataOption = Annotated[
    Path | None,
    folder_option("--data", envvar="PRUNEBENCH_DATA", help="Where datasets are. [default: user cache]"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, help="Processes; 0 works in this one. [default: one a core, or 1 a GPU]"
    ),
]
StageTimeoutOption = Annotated[
    float | None,
    typer.Option("--stage-timeout", help="Seconds after which a stage is stopped. [default: never]"),
]
ResultsOption = Annotated[Path, folder_option("--results", help="Where rows and pages are written.")]


def split(text: str | None) -> list[str] | None:
    """Return the words of a comma-separated option. Commas in the braces of a variant's name do not count."""
    if text is None:
        return None
    words = re.split(r",(?![^{]*\})", text)
    return [word.strip() for word in words if word.strip()]


def numbers(option: str, text: str | None, limit: int) -> list[int] | None:
    """Return the numbers of a comma-separated option.

    Raise PrunebenchError unless they are whole numbers from 0 to below `limit`.
    """
    words = split(text)
    if words is None:
        return None
    in_range = all(re.fullmatch(r"[0-9]{1,9}", word) and int(word) < limit for word in words)
    if not words or not in_range:
        raise PrunebenchError(f"{option} {text!r}: expected whole numbers from 0 to {limit - 1}, with commas")
    return [int(word) for word in words]


def listed(option: str, text: str | None) -> list[int] | None:
    """Return the seeds that --seeds describes. A single number is a count, unless a comma follows it."""
    seeds = numbers(option, text, schema.SEEDS)
    if seeds and text and "," not in text:
        return list(range(seeds[0]))
    return seeds


def build_matrix(
    suite: str | None,
    methods: str | None,
    datasets: str | None,
    ratios: str | None,
    seeds: str | None,
    recipe: str | None,
    changes: list[str] | None,
    device: str,
    store: Path | None,
    data: Path | None,
    tuning: str | None = None,
    on_bad: str | None = None,
) -> Matrix:
    """Return the matrix of the cells that options choose.

    Raise PrunebenchError if an option is invalid, or no cell is chosen.
    """
    filters = Filters(
        methods=split(methods),
        datasets=None if datasets == "all" else split(datasets),
        ratios=numbers("--ratios", ratios, 100),
        seeds=listed("--seeds", seeds),
        recipe=recipe,
        tuning=tuning,
        on_bad=on_bad,
        changes=parsed(changes),
    )
    return choose(suite, filters, device=device, store=store, data=data)


def parsed(changes: list[str] | None) -> dict[str, Any]:
    """Return the values of --set, by PART.field."""
    return dict(map(resolve.parse_change, changes or []))
