"""Suite files: what they may say, and how they are read."""

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

SEEDS = 10_000  # a seed is below: more are a slip of the pen


class SuiteFile(BaseModel):
    """What a suite file may say. Unknown keys and wrong types are errors."""

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
    repeats: Literal["pipeline", "training"] = "pipeline"
    tuning: Literal["default", "search", "published", "oracle_test"] = "default"
    label_draw: Literal["uniform", "class_balanced", "stratified"] = "uniform"
    grids: dict[str, dict[str, dict[str, Any]]] = {}
    dataset: dict[str, dict[str, Any]] = {}
    method: dict[str, dict[str, Any]] = {}

    @field_validator("ratios")
    @classmethod
    def _percent(cls, ratios: list[int]) -> list[int]:
        if wrong := [ratio for ratio in ratios if not 0 <= ratio <= 99]:
            raise ValueError(f"{wrong[0]} is no percentage pruned: 0 to 99")
        return ratios

    @field_validator("seeds")
    @classmethod
    def _countable(cls, seeds: int | list[int]) -> int | list[int]:
        ends = [seeds - 1] if isinstance(seeds, int) else [min(seeds, default=-1), max(seeds, default=-1)]
        if not all(0 <= seed < SEEDS for seed in ends):
            raise ValueError(f"seeds are a count from 1, or a list of numbers from 0, all below {SEEDS}")
        return seeds

    @field_validator("dataset", "method")
    @classmethod
    def _named(cls, tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        # Results are filed under these names.
        if wrong := [name for name in tables if not NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} cannot be a name: use letters, digits, '_', '.', '+' or '-'")
        return tables


@dataclass(frozen=True)
class Suite:
    """A named suite and where it was read."""

    name: str
    file: SuiteFile
    path: Path


def names() -> list[str]:
    """Return the names of the shipped suites."""
    return sorted(path.stem for path in shipped().glob("*.toml") if path.stem not in ("recipes", "claims"))


def is_shipped(path: Path) -> bool:
    """Whether a suite file is one of those that come with prunebench."""
    return path.resolve().parent == shipped().resolve()


def read(name: str, extending: tuple[Path, ...] = ()) -> Suite:
    """Read a shipped suite by name, or one of the user's by the path of its .toml file.

    extending: the files that extend this one, the first read first.
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
    chain = (*extending, path.resolve())
    if path.resolve() in extending:
        raise PrunebenchError(f"{path.name} extends itself: {' -> '.join(file.name for file in chain)}")
    try:
        return Suite(path.stem, SuiteFile.model_validate(_extended(path, chain)), path)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown(f"key in {path.name}", where, SuiteFile.model_fields, "docs/suites.md") from None
        reason = first["msg"].removeprefix("Value error, ")
        given = reprlib.repr(first["input"])
        raise PrunebenchError(f"{path.name}: {where}: {reason} (it is {given})") from None


def _extended(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """Return the keys of a suite file over those of the one it extends, a shipped one or a file beside it."""
    values = read_toml(path)
    parent = values.get("extends")
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise PrunebenchError(f"{path.name}: extends is {parent!r}, expected the name of another suite")
    place = str(path.parent / parent) if parent.endswith(".toml") else parent
    return read(place, chain).file.model_dump(exclude_unset=True) | values


def seed_list(seeds: int | list[int]) -> list[int]:
    """Return the seeds that a suite's count or list stands for."""
    return list(range(seeds)) if isinstance(seeds, int) else seeds
