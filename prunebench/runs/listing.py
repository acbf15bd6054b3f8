"""The rows of `list`, and the short overview of this machine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.base import Part
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.identity import map_parts
from prunebench.parts.method import Method
from prunebench.parts.registry import Plugin, Registry

Rows = tuple[list[str], list[list[object]]]


def rows(what: str, registry: Registry, data: Callable[[], Path]) -> Rows:
    """Return header and rows of one list. A broken plugin appears only in the list of plugins.

    what: "datasets", "backbones", "labelers", "scorers", "selectors", "draws", "methods", "suites" or
        "plugins".
    data: returns the folder of datasets. Called only for the list of datasets.
    """
    if what == "plugins":
        header = ["plugin", "version", "entry point", "module", "state"]
        return header, [_plugin_row(plugin) for plugin in registry.plugins]
    if what == "suites":
        return ["suite", "title", "datasets"], _suite_rows()
    owners = {name: owner for (kind, name), owner in registry.owners.items() if kind == what}
    if what == "methods":
        header = ["method", "from", "labels", "parts", "title"]
        return header, [_method_row(owners[name], item) for name, item in registry.found[what].items()]
    items = sorted(registry.found[what].items())
    if what == "datasets":
        header = ["dataset", "from", "classes", "pixels", "files", "title"]
        folder = data()
        return header, [_dataset_row(name, owners[name], item, folder) for name, item in items]
    header = [what.removesuffix("s"), "from", "what it does", "fields"]
    return header, [[name, owners[name], _summary(item), _fields(item)] for name, item in items]


def _plugin_row(plugin: Plugin) -> list[object]:
    return [plugin.distribution, plugin.release, plugin.entry, plugin.module, _state(plugin)]


def _suite_rows() -> list[list[object]]:
    from prunebench.suites import schema

    suites = map(schema.read, schema.names())
    return [[suite.name, suite.file.title, ", ".join(suite.file.datasets)] for suite in suites]


def _state(plugin: Plugin) -> str:
    if plugin.error:
        return f"broken: {plugin.error}"
    return "ok" if plugin.used else "not loaded: PRUNEBENCH_PLUGINS leaves it out"


def _summary(item: Any) -> str:
    """Return the first line of a docstring, or an empty text."""
    docstring = inspect.getdoc(item)
    return docstring.splitlines()[0] if docstring else ""


def _fields(part: type[Part]) -> str:
    values = {entry.name: entry.default for entry in fields(part) if entry.name != "per_class"}
    return " ".join(f"{name}={getattr(value, 'name', value)}" for name, value in values.items())


def _method_row(owner: str, method: Method) -> list[object]:
    parts = " + ".join(part.name for part in method.parts.values())
    return [method.name, owner, f"{method.label_fraction:.0%}", parts, method.title]


def _dataset_row(name: str, owner: str, item: Dataset | type[Dataset], data: Path) -> list[object]:
    if isinstance(item, type):
        return [f"{name}:PATH@PIXELS", owner, "", "", _summary(item), ""]
    title = "" if item.title == name else item.title
    return [name, owner, len(item.classes), item.resolution, _folder(item, data), title]


def _folder(dataset: Dataset, data: Path) -> str:
    """Return the folder of a dataset's files, or "absent"."""
    try:
        return str(dataset.files(data)[0].parent)
    except (DataAbsentError, PrunebenchError):
        return "absent"


# The first commands to type, and their purpose.
FIRST_COMMANDS = {
    "prunebench run --suite quickstart": "real images to a leaderboard, in minutes",
    "prunebench run --methods semi_dual,random --datasets digits --ratios 50,90": "cells of your choice",
    "prunebench run --methods dual --datasets folder:PATH@64": "your own images, PATH/{train,test}/CLASS/*",
    "prunebench plan --suite small_all": "what a suite would compute, and how long it takes",
    "prunebench list methods": "also datasets, suites, scorers, ...",
    "prunebench doctor": "what this machine can run, and what to install for the rest",
}


def overview(registry: Registry, data: Path, device: str) -> Iterator[str]:
    """Yield a few lines: the datasets and methods that can run on this machine, and first commands."""
    datasets = [item for item in registry.found["datasets"].values() if not isinstance(item, type | View)]
    present = [dataset.name for dataset in datasets if _folder(dataset, data) != "absent"]
    methods = registry.found["methods"].values()
    ready = [method for method in methods if _ready(method, registry)]
    yield "Nothing was run: say what to run. What is here:"
    yield f"  datasets  {len(present)} of {len(datasets)}, not counting their views: {', '.join(present)}"
    yield f"  methods   {len(ready)} of {len(methods)}; the others need files of weights"
    yield f"  device    {device}"
    yield "What to type:"
    for command, purpose in FIRST_COMMANDS.items():
        yield f"  {command}  # {purpose}"


def _ready(method: Method, registry: Registry) -> bool:
    """Whether all files are here that the parts of a method need, and the parts within them."""

    def visit(part: Part) -> Part:
        part.ready()
        return part

    try:
        for part in method.parts.values():
            map_parts(registry.resolve_backbones(part), visit)
    except PrunebenchError:
        return False
    return True
