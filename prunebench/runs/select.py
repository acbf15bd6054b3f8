"""The cells that a user chooses: what commands and Python API share."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.parts.registry import anchored, load
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.store import Store
from prunebench.runs.places import Place, folder, pick_device
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench.suites.resolve import MATCHED


def choose(
    suite: Place, filters: Filters, *, device: str = "auto", store: Place = None, data: Place = None
) -> Matrix:
    """Return the matrix of the cells that `filters` choose from a suite, a name or the path of a .toml file.

    Raise PrunebenchError where they choose none.
    """
    chosen = schema.read(str(suite or "standard"))
    cells = resolve.cells(chosen, filters, load())
    if not cells:
        raise PrunebenchError(
            "these options choose no cell; --seeds counts from 1, and a suite needs methods and datasets"
        )
    wanted = filters.datasets or chosen.file.datasets
    specs = {
        load().dataset(spec).name: anchored(spec)
        for spec in (resolve.dataset_spec(chosen, name, filters.on_bad) for name in wanted)
    }
    return Matrix(
        cells,
        Store(folder("store", store)),
        folder("data", data),
        pick_device(device),
        datasets=specs,
    )


def choose_one(suite: Place, filters: Filters, *, store: Place = None, data: Place = None) -> Matrix:
    """Return the matrix of one cell: that of the one method, dataset, ratio and seed in `filters`.

    Raise PrunebenchError where there is no such cell, or where the method keeps its images at another
    ratio. Nothing is to be computed, so no device is looked for.
    """
    matrix = choose(suite, _beside(filters), device="cpu", store=store, data=data)
    (method,), (ratio,) = filters.methods or ("",), filters.ratios or (0,)
    matched = method.startswith(MATCHED)
    cells = [cell for cell in matrix.cells if (cell.method.beside is not None) == matched]
    if len(cells) != 1:
        raise PrunebenchError(
            f"{method!r} chooses {len(cells)} cells, expected one: name one method, such as random or "
            f"{MATCHED}{{semi_aum}}"
        )
    if cells[0].ratio != ratio:
        raise PrunebenchError(
            f"{method} has one ratio only, {cells[0].ratio}; ask for that one instead of {ratio}"
        )
    return replace(matrix, cells=cells)


def _beside(filters: Filters) -> Filters:
    """Return filters by which a suite makes the method: a matched Random comes with the one beside it."""
    found = re.fullmatch(rf"{MATCHED}\{{(.+)\}}", (filters.methods or ("",))[0])
    return replace(filters, methods=[found[1], MATCHED]) if found else filters


def command(suite: Place, filters: Filters, *, store: Place = None, data: Place = None) -> str:
    """Return the command that runs the cells of `filters`, as a shell reads it."""
    filters = _beside(filters)
    options = {
        "suite": [str(suite)] if suite else [],
        "methods": filters.methods or [],
        "datasets": filters.datasets or [],
        "ratios": filters.ratios or [],
        "seeds": [*filters.seeds, ""] if filters.seeds else [],  # with a comma even one is a list
        "recipe": [filters.recipe] if filters.recipe else [],
        "tuning": [filters.tuning] if filters.tuning else [],
    }
    words = [
        word for name, given in options.items() if given for word in (f"--{name}", ",".join(map(str, given)))
    ]
    for path, value in filters.changes.items():
        words += ["--set", f"{path}={_spelled(path, value)}"]
    for name, place in {"store": store, "data": data}.items():
        words += [f"--{name}", str(place)] if place else []
    return f"prunebench run {shlex.join(words)}"


def _spelled(path: str, value: Any) -> str:
    """Return the text that `--set PATH=` reads as this value."""
    plain = value if isinstance(value, str) else json.dumps(value)
    return plain if resolve.parse_change(f"{path}={plain}")[1] == value else json.dumps(value)
