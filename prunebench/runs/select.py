"""Choosing cells, for the commands and the Python API."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from prunebench.errors import PrunebenchError
from prunebench.parts.registry import anchored, load
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.store import Store
from prunebench.results.rows import Record
from prunebench.runs.places import Place, folder, pick_devices
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench.suites.resolve import MATCHED, TIMED, TWINS
from prunebench.system.sealed_json import canonical

R = TypeVar("R", bound=Record)


def choose(
    suite: Place,
    filters: Filters,
    *,
    device: str = "auto",
    store: Place = None,
    data: Place = None,
    elsewhere: bool = False,
) -> Matrix:
    """Return the matrix of the cells that `filters` choose from a suite.

    suite: a name, or the path of a .toml file.
    device: "auto", "cpu", "cuda", or some GPUs, as "cuda:1,cuda:3".
    store: the folder of artefacts.
    data: the folder of datasets.
    elsewhere: whether other machines compute. They, not this one, need the GPUs then.

    Raise PrunebenchError if no cell is chosen, or a device does not exist.
    """
    read_suite = schema.read(str(suite or "standard"))
    cells = resolve.cells(read_suite, filters, load())
    if not cells:
        raise PrunebenchError(
            "these options choose no cell; --seeds counts from 1, and a suite needs methods and datasets"
        )
    specs = {}
    for name in filters.datasets or read_suite.file.datasets:
        spec = resolve.dataset_spec(read_suite, name, filters.on_bad)
        specs[load().dataset(spec).name] = anchored(spec)
    if elsewhere and ":" in device:
        raise PrunebenchError(
            f"--device {device}: only --executor local is told which GPUs; use --device cuda"
        )
    picked, gpus = (device, ()) if elsewhere and device == "cuda" else pick_devices(device)
    return Matrix(
        cells,
        Store(folder("store", store)),
        folder("data", data),
        picked,
        specs=specs,
        gpus=gpus,
    )


def shard(matrix: Matrix, number: int, count: int) -> Matrix:
    """Return the matrix of one of `count` shares of the cells. Each cell is in one share.

    Cells of one dataset, seed and method are neighbors, as they share most stages. Shares differ by one cell
    at most.

    number: of the share, 1 to `count`.
    """
    in_order = sorted(
        matrix.cells, key=lambda cell: (cell.dataset.name, cell.seed, cell.method.name, cell.ratio)
    )
    first, end = (len(in_order) * edge // count for edge in (number - 1, number))
    mine = set(in_order[first:end])
    return replace(matrix, cells=[cell for cell in matrix.cells if cell in mine])


def choose_one(suite: Place, filters: Filters, *, store: Place = None, data: Place = None) -> Matrix:
    """Return the matrix of the one cell that `filters` describe by method, dataset, ratio, seed and rung.

    suite: a name, or the path of a .toml file.
    store: the folder of artefacts.
    data: the folder of datasets.

    The matrix is not for computing, so its device is always "cpu".
    Raise PrunebenchError if there is no such cell, or one for each of several rungs, or if the method has
    another ratio.
    """
    matrix = choose(suite, _with_matched(filters), device="cpu", store=store, data=data)
    (method,) = filters.methods or ("",)
    (ratio,) = filters.ratios or (0,)
    matched = method.startswith((*TWINS,))
    cells = [cell for cell in matrix.cells if (cell.method.matched_to is not None) == matched]
    rungs = {cell.repeats: None for cell in cells}
    if len(cells) == len(rungs) > 1:
        raise PrunebenchError(
            f"{method} has a cell for each rung that the suite repeats, {', '.join(rungs)}; choose one with "
            "--repeats"
        )
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


def alike(rows: Iterable[R]) -> list[list[R]]:
    """Return rows in groups. The cells of a group differ in method, ratio and seed alone."""
    groups: dict[str, list[R]] = {}
    for row in rows:
        shared = canonical([row.dataset, row.recipe, row.tuning, row.repeats, row.changes])
        groups.setdefault(shared, []).append(row)
    return list(groups.values())


def filters_of(rows: Sequence[Record]) -> Filters:
    """Return the filters that choose the cells of rows, and with them the cells that these are matched to.

    rows: those of a group of `alike`. Each of their methods is chosen at each of their ratios and seeds.
    """
    first = rows[0]
    return Filters(
        methods=list(dict.fromkeys(name for row in rows for name in _written(row))),
        datasets=[first.dataset],
        ratios=sorted({row.ratio for row in rows}),
        seeds=sorted({row.seed for row in rows}),
        recipe=first.recipe,
        tuning=first.tuning,
        repeats=first.repeats,
        changes=first.changes,
    )


def _written(row: Record) -> list[str]:
    """Return the names in a suite that make the method of a row: without what --set changed."""
    if row.matched_to is not None:
        return [row.matched_to.partition("{")[0], TIMED if row.matched_in == "work" else MATCHED]
    return [row.method.partition("{")[0] if row.changes else row.method]


def _with_matched(filters: Filters) -> Filters:
    """Return filters that a suite resolves to the method.

    A Random that is matched to another method is named after it, and is chosen together with it.
    """
    match = re.fullmatch(rf"({'|'.join(TWINS)})\{{(.+)\}}", (filters.methods or ("",))[0])
    return replace(filters, methods=[match[2], match[1]]) if match else filters


def command(suite: Place, filters: Filters, *, store: Place = None, data: Place = None) -> str:
    """Return the shell command that runs the cells of `filters`."""
    filters = _with_matched(filters)
    options = {
        "suite": [str(suite)] if suite else [],
        "methods": filters.methods or [],
        "datasets": filters.datasets or [],
        "ratios": filters.ratios or [],
        "seeds": _spelled_seeds(filters.seeds or []),
        "recipe": [filters.recipe] if filters.recipe else [],
        "tuning": [filters.tuning] if filters.tuning else [],
        "repeats": [filters.repeats] if filters.repeats else [],
    }
    words = []
    for name, values in options.items():
        if values:
            words += [f"--{name}", ",".join(map(str, values))]
    for field, value in filters.changes.items():
        words += ["--set", f"{field}={_spelled(field, value)}"]
    for name, path in {"store": store, "data": data}.items():
        if path:
            words += [f"--{name}", str(path)]
    return f"prunebench run {shlex.join(words)}"


def _spelled_seeds(seeds: Sequence[int]) -> list[int | str]:
    """Return the words of --seeds: "2" for 0 and 1, "0,2" for 0 and 2, "2," for 2 alone."""
    if seeds and list(seeds) == list(range(len(seeds))):
        return [len(seeds)]
    return [*seeds, ""] if len(seeds) == 1 else [*seeds]


def _spelled(field: str, value: Any) -> str:
    """Return the text that `--set FIELD=` reads as this value."""
    plain = value if isinstance(value, str) else json.dumps(value)
    if resolve.parse_change(f"{field}={plain}")[1] == value:
        return plain
    return json.dumps(value)  # a text that would be read as a number, for example
