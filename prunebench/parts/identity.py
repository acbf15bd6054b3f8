"""From plain values to parts and back: construction with checks, and the identity that keys are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.base import Backbone, Part
from prunebench.parts.code import code_hash, helpers
from prunebench.parts.dataset import Dataset

OWN_PACKAGES = ("prunebench", "prunebench_plugins")
T = TypeVar("T")


def construct(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a `cls` from plain values, as TOML and JSON give them, checking names and types.

    Raise PrunebenchError naming `where` and the offending key.
    """
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(cls, localns={"Backbone": Backbone})
    known = {entry.name: entry for entry in fields(cls) if entry.init}  # type: ignore[arg-type]
    given = {}
    for name, value in values.items():
        if name not in known:
            raise unknown(f"field of {where}", name, known, "prunebench list")
        if _holds_parts(value):
            given[name] = value
            continue
        try:
            # Strict JSON rules: an int may stand for a float, a list for a tuple, a string for nothing else.
            text = json.dumps(value, default=str, allow_nan=False)  # no key can be made of inf and nan
            given[name] = TypeAdapter(hints[name]).validate_json(text, strict=True)
        except (ValueError, TypeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise PrunebenchError(f"{where}.{name} is {value!r}: {reason.lower()}") from None
    missing = [name for name, entry in known.items() if name not in given and _required(entry)]
    if missing:
        raise PrunebenchError(f"{where} needs a value for {missing[0]!r}")
    return cls(**given)


def _holds_parts(value: Any) -> bool:
    return isinstance(value, Part | Dataset) or (isinstance(value, tuple) and any(map(_holds_parts, value)))


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def change(part: Part, values: Mapping[str, Any], where: str) -> Part:
    """Return `part` with some fields replaced by plain values, checked as `construct` does."""
    return construct(type(part), {e.name: getattr(part, e.name) for e in fields(part)} | dict(values), where)


def at_defaults(part: Part) -> set[str]:
    """Return the names of the fields that stand at their class default."""
    return {entry.name for entry in fields(part) if getattr(part, entry.name) == entry.default}


def map_parts(part: Part, function: Callable[[Part], Part]) -> Part:
    """Return `part` after `function` was applied to every part it holds, and then to itself."""

    def inside(value: Any) -> Any:
        if isinstance(value, Part):
            return map_parts(value, function)
        return tuple(map(inside, value)) if isinstance(value, tuple) else value

    changed = {e.name: inside(v) for e in fields(part) if _holds_parts(v := getattr(part, e.name))}
    return function(replace(part, **changed) if changed else part)


def identity(part: Part) -> dict[str, Any]:
    """Return everything that decides what a part computes, as JSON: name, version, fields, own code.

    A field that is a Path stands for the content of that file: {"file": place, "sha256": hash}, see
    `placeless`. Parts outside our distribution carry a hash of the syntax trees of their module and of the
    modules of the same distribution that it imports, without docstrings and comments, so that an author's
    edit takes effect without a version bump. Raise PrunebenchError for a file that cannot be read.
    """

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, Part):
            return identity(value)
        if isinstance(value, Path):
            return _content(value.expanduser().resolve(), f"{part.name}.{name}")
        return [plain(name, inner) for inner in value] if isinstance(value, tuple) else value

    found: dict[str, Any] = {"part": part.name, "kind": part.kind, "version": part.version}
    found["fields"] = {entry.name: plain(entry.name, getattr(part, entry.name)) for entry in fields(part)}
    return found | foreign_code(type(part))


def placeless(value: Any) -> Any:
    """Return an identity without the places of files, which decide nothing: what keys are made of."""
    if isinstance(value, dict):
        return {name: placeless(v) for name, v in value.items() if not (name == "file" and "sha256" in value)}
    return list(map(placeless, value)) if isinstance(value, list) else value


def _content(path: Path, field: str) -> dict[str, str]:
    try:
        stat = path.stat()
        return {"file": str(path), "sha256": _file_hash(path, stat.st_size, stat.st_mtime_ns)}
    except OSError as error:
        raise PrunebenchError(f"{field} cannot be read: {path}: {error.strerror}") from None


@cache
def _file_hash(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def foreign_code(cls: type) -> dict[str, list[str]]:
    """Return {"code": hashes} of the code outside our distribution on which `cls` rests, else {}.

    These are the modules that define it and its bases, and what they import of their own distributions.
    """
    modules = {c.__module__ for c in cls.__mro__} - {"builtins", "abc", "typing"}
    foreign = frozenset(name for name in modules if name.partition(".")[0] not in OWN_PACKAGES)
    if not foreign:
        return {}
    return {"code": [code_hash(name) for name in sorted(foreign | helpers(foreign))]}
