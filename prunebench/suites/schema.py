"""Suite files: their keys, and how they are read."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.registry import NAME
from prunebench.suites.resources import read_toml, shipped
from prunebench.system.files import home

INDEX = "readme"  # no suite can be named as the index of pages, on any disk
SEEDS = 10_000  # every seed is below. A larger number is a typing error
# The rungs of a pipeline, by what a seed may repeat. It repeats a rung and all after it.
RUNGS = {
    "pipeline": "label draw",
    "labeler": "labeler",
    "proxy": "proxy, scores",
    "training": "selection, training",
}


def repeat_of(rung: str, first: str, seed: int) -> int:
    """Return the repeat of a rung: the seed, or 0 if all seeds share it.

    first: the first rung that they repeat.
    """
    order = list(RUNGS)
    return seed if order.index(rung) >= order.index(first) else 0


class SuiteFile(BaseModel):
    """The keys of a suite file. Unknown keys and wrong types are errors.

    extends: name or path of a suite that this one extends, or None.
    title: heading of its tables.
    note: remark below its tables.
    datasets: names of datasets.
    methods: names of methods.
    references: methods that are shown beside the others and never ranked.
    ratios: percentages pruned, 0 to 99.
    seeds: number of seeds, or a list of them.
    recipe: name of the recipe, or a table dataset -> name, with the key "default" for the others.
    repeats: the first of the rungs that a seed repeats, or several, each with all seeds.
    tuning: the tuning rule, see `prunebench.suites.tuning`.
    exams: what selections are put to beside accuracy, see `prunebench.suites.exams`.
    label_draw: how annotated images are drawn, see `prunebench.parts.sampling.draw_labels`.
    grids: `[grids.PART.FIELD]` tables, which replace the grids that parts declare.
    dataset: `[dataset.NAME]` tables, the suite's own datasets.
    method: `[method.NAME]` tables, the suite's own methods.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    extends: str | None = None
    title: str
    note: str = ""
    datasets: list[str]
    methods: list[str]
    references: list[str] = []
    ratios: list[int] = [30, 50, 70, 80, 90]
    seeds: int | list[int] = 5
    recipe: str | dict[str, str]
    repeats: str | list[str] = "pipeline"
    tuning: Literal["default", "search", "published", "oracle_test"] = "default"
    exams: list[str] = []
    label_draw: Literal["uniform", "class_balanced", "stratified"] = "uniform"
    grids: dict[str, dict[str, dict[str, Any]]] = {}
    dataset: dict[str, dict[str, Any]] = {}
    method: dict[str, dict[str, Any]] = {}

    @field_validator("ratios")
    @classmethod
    def _percent(cls, ratios: list[int]) -> list[int]:
        for ratio in ratios:
            if not 0 <= ratio <= 99:
                raise ValueError(f"{ratio} is no percentage pruned: 0 to 99")
        return ratios

    @field_validator("seeds")
    @classmethod
    def _countable(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, int):
            countable = 1 <= seeds <= SEEDS
        else:
            countable = len(seeds) > 0 and all(0 <= seed < SEEDS for seed in seeds)
        if not countable:
            raise ValueError(f"seeds are a count from 1, or a list of numbers from 0, all below {SEEDS}")
        return seeds

    @field_validator("repeats")
    @classmethod
    def _rungs(cls, repeats: str | list[str]) -> str | list[str]:
        names = [repeats] if isinstance(repeats, str) else repeats
        if not names or not {*names} <= {*RUNGS}:
            raise ValueError(f"a seed repeats one of {', '.join(RUNGS)}, or a list of them")
        return repeats

    @field_validator("dataset", "method")
    @classmethod
    def _named(cls, tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in tables:
            if not NAME.fullmatch(name):  # results are stored in files of these names
                raise ValueError(f"{name!r} cannot be a name: use letters, digits, '_', '.', '+' or '-'")
        return tables


@dataclass(frozen=True)
class Suite:
    """A suite.

    name: that of its file, without .toml.
    file: its keys.
    path: of its file.
    """

    name: str
    file: SuiteFile
    path: Path


def names() -> list[str]:
    """Return the names of the shipped suites."""
    return sorted(path.stem for path in shipped().glob("*.toml") if path.stem not in ("recipes", "claims"))


def is_shipped(path: Path) -> bool:
    """Whether a suite file ships with prunebench."""
    return path.resolve().parent == shipped().resolve()


def read(name: str, extending: tuple[Path, ...] = ()) -> Suite:
    """Read a suite.

    Raise PrunebenchError if there is no such suite, if its file is not valid, if it has the name of a shipped
    suite or if it extends itself.

    name: of a shipped suite, or the path of a user's .toml file.
    extending: the files that extend this one, in the order in which they were read.
    """
    path = home(name) if name.endswith(".toml") else shipped() / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise PrunebenchError(f"suite file {name} does not exist. Shipped suites: {', '.join(names())}")
        raise unknown("suite", name, names(), "prunebench list suites")
    if not extending and path.stem in names() and not is_shipped(path):
        raise PrunebenchError(
            f"suite file {name}: {path.stem!r} is a shipped suite, and results are filed by name; "
            "rename the file"
        )
    if path.stem.lower() == INDEX:
        raise PrunebenchError(f"suite file {name}: README is the index of all pages; rename the file")
    chain = (*extending, path.resolve())
    if path.resolve() in extending:
        raise PrunebenchError(f"{path.name} extends itself: {' -> '.join(file.name for file in chain)}")
    try:
        return Suite(path.stem, SuiteFile.model_validate(_extended(path, chain)), path)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(name) for name in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown(f"key in {path.name}", key, SuiteFile.model_fields, "docs/suites.md") from None
        reason = first["msg"].removeprefix("Value error, ")
        value = reprlib.repr(first["input"])
        raise PrunebenchError(f"{path.name}: {key}: {reason} (it is {value})") from None


def _extended(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """Return the keys of a suite file, and those of the suite it extends for the keys that it lacks.

    That suite is a shipped one, or a file in the same folder.
    """
    values = read_toml(path)
    parent = values.get("extends")
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise PrunebenchError(f"{path.name}: extends is {parent!r}, expected the name of another suite")
    parent_name = str(path.parent / parent) if parent.endswith(".toml") else parent
    return read(parent_name, chain).file.model_dump(exclude_unset=True) | values


def seed_list(seeds: int | list[int]) -> list[int]:
    """Return the seeds of a suite, from their number or list."""
    return list(range(seeds)) if isinstance(seeds, int) else seeds
