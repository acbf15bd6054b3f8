"""The options that several commands share, and the matrix of cells that they choose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench import suite as suites
from prunebench.errors import PrunebenchError, unknown
from prunebench.registry import load

if TYPE_CHECKING:
    from prunebench.matrix import Matrix

MethodsOption = Annotated[str | None, typer.Option("--methods", help="Names with commas, or all.")]
DatasetsOption = Annotated[
    str | None, typer.Option("--datasets", help="Names with commas, or folder:PATH@PIXELS.")
]
RatiosOption = Annotated[str | None, typer.Option("--ratios", help="Percent pruned, such as 30,90.")]
SeedsOption = Annotated[str | None, typer.Option("--seeds", help="A count (3 means 0,1,2) or a list (0,3).")]
SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="A shipped suite or a .toml file. [default: standard]")
]
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="How networks are trained.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="PART.field=value: a variant with its own name.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="PRUNEBENCH_STORE", help="Where artefacts are kept. [default: user cache]"
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="PRUNEBENCH_DATA", help="Where datasets are. [default: user cache]"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, help="Processes; 0 works in this one. [default: one a core, or 1 a GPU]"
    ),
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Where rows and pages are written.")]


def cache_folder(name: str) -> Path:
    """Return a folder of ours in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunebench" / name


def split(text: str | None) -> list[str] | None:
    """Split a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()] if text is not None else None


def numbers(option: str, text: str | None, limit: int) -> list[int] | None:
    """Split a comma-separated option into whole numbers from 0 to below `limit`."""
    words = split(text)
    if words is None:
        return None
    if not words or not all(word.isdigit() and int(word) < limit for word in words):
        raise PrunebenchError(f"{option} {text!r}: expected whole numbers from 0 to {limit - 1}, with commas")
    return [int(word) for word in words]


def pick_device(name: str) -> str:
    """Return "cpu" or "cuda"; raise PrunebenchError for a device that is not there."""
    if name == "cpu":
        return name
    if name not in ("auto", "cuda"):
        raise unknown("device", name, ["auto", "cpu", "cuda"], "prunebench doctor")
    # A driver leaves these behind; without one there is no need to import torch to know.
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists() or os.name == "nt"):
        there = False
    else:
        import torch

        there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise PrunebenchError(
            "--device cuda: this machine has no CUDA device; use --device cpu, see prunebench doctor"
        )
    return "cuda" if there else "cpu"


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
) -> Matrix:
    """Turn the options that choose cells into the matrix of those cells."""
    from prunebench.matrix import Matrix
    from prunebench.store import Store

    counted = numbers("--seeds", seeds, 10_000)
    filters = suites.Filters(
        methods=split(methods),
        datasets=None if datasets == "all" else split(datasets),
        ratios=numbers("--ratios", ratios, 100),
        seeds=list(range(counted[0])) if counted and len(counted) == 1 else counted,
        recipe=recipe,
        changes=dict(map(suites.parse_change, changes or [])),
    )
    chosen = suites.read(suite or "standard")
    cells = suites.cells(chosen, filters, load())
    if not cells:
        raise PrunebenchError(
            "these options choose no cell; --seeds counts from 1, and a suite needs methods and datasets"
        )
    wanted = filters.datasets or chosen.file.datasets
    specs = {
        load().dataset(spec).name: spec for spec in (suites.dataset_spec(chosen, name) for name in wanted)
    }
    return Matrix(
        cells,
        Store(store or cache_folder("store")),
        data or cache_folder("data"),
        pick_device(device),
        changes=filters.changes,
        datasets=specs,
    )
