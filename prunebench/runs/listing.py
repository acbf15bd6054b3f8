"""What is installed: the lines of `list`, and what can run here in a few lines."""

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
from prunebench.suites import schema

Rows = tuple[list[str], list[list[object]]]


def rows(what: str, registry: Registry, data: Callable[[], Path]) -> Rows:
    """Return header and rows of one list; raises nothing for a broken plugin, which has its own list.

    data: asked for the folder of datasets by their list alone.
    """
    if what == "plugins":
        header = ["plugin", "version", "entry point", "module", "state"]
        return header, [[p.distribution, p.release, p.entry, p.module, _state(p)] for p in registry.plugins]
    if what == "suites":
        found = [schema.read(name) for name in schema.names()]
        return ["suite", "title", "datasets"], [
            [s.name, s.file.title, ", ".join(s.file.datasets)] for s in found
        ]
    owners = {name: owner for (kind, name), owner in registry.owners.items() if kind == what}
    if what == "datasets":
        root = data()
        return ["dataset", "from", "classes", "pixels", "files", "title"], [
            _dataset_row(name, owners[name], item, root)
            for name, item in sorted(registry.found[what].items())
        ]
    if what == "methods":
        header = ["method", "from", "labels", "parts", "title"]
        return header, [_method_row(owners[name], item) for name, item in registry.found[what].items()]
    return [what.removesuffix("s"), "from", "what it does", "fields"], [
        [name, owners[name], _summary(item), _fields(item)]
        for name, item in sorted(registry.found[what].items())
    ]


def _state(plugin: Plugin) -> str:
    if plugin.error:
        return f"broken: {plugin.error}"
    return "ok" if plugin.used else "not loaded: PRUNEBENCH_PLUGINS leaves it out"


def _summary(item: Any) -> str:
    return (inspect.getdoc(item) or "").splitlines()[0] if inspect.getdoc(item) else ""


def _fields(part: type[Part]) -> str:
    values = {entry.name: entry.default for entry in fields(part) if entry.name != "per_class"}
    return " ".join(f"{name}={getattr(value, 'name', value)}" for name, value in values.items())


def _method_row(owner: str, method: Method) -> list[object]:
    parts = " + ".join(part.name for part in method.parts.values())
    return [method.name, owner, f"{method.annotation:.0%}", parts, method.title]


def _dataset_row(name: str, owner: str, item: Dataset | type[Dataset], data: Path) -> list[object]:
    if isinstance(item, type):
        return [f"{name}:PATH@PIXELS", owner, "", "", _summary(item), ""]
    title = "" if item.title == name else item.title
    return [name, owner, len(item.classes), item.resolution, _found(item, data), title]


def _found(dataset: Dataset, data: Path) -> str:
    try:
        return str(dataset.files(data)[0].parent)
    except (DataAbsentError, PrunebenchError):
        return "absent"


# What to type first, and what for.
FIRST_COMMANDS = {
    "prunebench run --suite quickstart": "real images to a leaderboard, in minutes",
    "prunebench run --methods semi_dual,random --datasets digits --ratios 50,90": "cells of your choice",
    "prunebench run --methods dual --datasets folder:PATH@64": "your own images, PATH/{train,test}/CLASS/*",
    "prunebench plan --suite small_all": "what a suite would compute, and how long it takes",
    "prunebench list methods": "also datasets, suites, scorers, ...",
    "prunebench doctor": "what can run here, and what to install for the rest",
}


def overview(registry: Registry, data: Path, device: str) -> Iterator[str]:
    """Yield in a few lines what can run on this machine as it is, and what to type."""
    values = [item for item in registry.found["datasets"].values() if not isinstance(item, type)]
    own = [item for item in values if not isinstance(item, View)]
    there = [item.name for item in own if _found(item, data) != "absent"]
    methods = registry.found["methods"].values()
    ready = [method for method in methods if _ready(method, registry)]
    yield "Nothing was run: say what to run. What is here:"
    yield f"  datasets  {len(there)} of {len(own)}, beside their views: {', '.join(there)}"
    yield f"  methods   {len(ready)} of {len(methods)}; the others need files of weights"
    yield f"  device    {device}"
    yield "What to type:"
    for command, purpose in FIRST_COMMANDS.items():
        yield f"  {command}  # {purpose}"


def _ready(method: Method, registry: Registry) -> bool:
    """Whether all files are here that the parts of a method read, and those that they hold."""

    def visit(part: Part) -> Part:
        part.ready()
        return part

    try:
        for part in method.parts.values():
            map_parts(registry.resolve_backbones(part), visit)
    except PrunebenchError:
        return False
    return True
