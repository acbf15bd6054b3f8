"""Parts from plain values, with checks, and the identity of a part, from which keys are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.base import Backbone, Part
from prunebench.parts.code import code_hash, helpers
from prunebench.parts.dataset import Dataset

if TYPE_CHECKING:
    from pydantic import TypeAdapter

OWN_PACKAGES = ("prunebench", "prunebench_plugins")
T = TypeVar("T")


def construct(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a dataclass value from the plain values of TOML or JSON, with checks of names and types.

    Raise PrunebenchError with `where` and the field if a name is unknown, a value has a wrong type or a
    required field is missing.

    cls: the dataclass.
    values: plain values by field name. Parts and datasets are taken as they are.
    where: the name of the value in messages.
    """
    from pydantic import ValidationError

    known = {entry.name: entry for entry in fields(cls) if entry.init}  # type: ignore[arg-type]
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise unknown(f"field of {where}", name, known, _list_of(cls))
        if _holds_parts(value):
            checked[name] = value
            continue
        try:
            # Strict JSON rules: an int may stand for a float, and a list for a tuple. A string is a string.
            text = json.dumps(value, default=str, allow_nan=False)  # keys have no spelling for inf and nan
            adapter = _adapter(cls, name)  # type: ignore[arg-type]
            checked[name] = adapter.validate_json(text, strict=True)
        except (ValueError, TypeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise PrunebenchError(f"{where}.{name} is {value!r}: {reason.lower()}") from None
    missing = [name for name, entry in known.items() if name not in checked and _required(entry)]
    if missing:
        raise PrunebenchError(f"{where} needs a value for {missing[0]!r}")
    return cls(**checked)


def _list_of(cls: type) -> str:
    """Return the command or page that shows the fields of a dataclass."""
    if issubclass(cls, Part):
        return f"prunebench list {cls.kind}s"
    return "prunebench list datasets" if issubclass(cls, Dataset) else "docs/suites.md"


@cache  # making one takes much longer than a check
def _adapter(cls: Any, name: str) -> TypeAdapter[Any]:
    """Return what checks the values of a field of a dataclass."""
    from pydantic import TypeAdapter

    return TypeAdapter(_hints(cls)[name])


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, localns={"Backbone": Backbone})


def _holds_parts(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_holds_parts(item) for item in value)
    return isinstance(value, Part | Dataset)


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def change(part: Part, values: Mapping[str, Any], where: str) -> Part:
    """Return `part` with some fields replaced by plain values, checked as in `construct`."""
    current = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    return construct(type(part), current | dict(values), where)


def at_defaults(part: Part) -> set[str]:
    """Return the names of the fields that have their default value."""
    return {entry.name for entry in fields(part) if getattr(part, entry.name) == entry.default}


def map_parts(part: Part, function: Callable[[Part], Part]) -> Part:
    """Apply `function` to every part that `part` holds, then to `part` itself. Return the result."""

    def map_value(value: Any) -> Any:
        if isinstance(value, Part):
            return map_parts(value, function)
        if isinstance(value, tuple):
            return tuple(map(map_value, value))
        return value

    changed = {}
    for entry in fields(part):
        value = getattr(part, entry.name)
        if _holds_parts(value):
            changed[entry.name] = map_value(value)
    return function(replace(part, **changed) if changed else part)


def identity(part: Part) -> dict[str, Any]:
    """Return all that decides the output of a part, as JSON: name, kind, version, fields and foreign code.

    A Path field stands for the content of its file: {"file": path, "sha256": hash}. See `without_paths`.

    A part of another distribution also has hashes of its source. They cover the syntax trees of its module
    and of the modules of the same distribution that it imports, without docstrings and comments. So an
    author's edit takes effect without a new version.

    Raise PrunebenchError if a file cannot be read.
    """

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, Part):
            return identity(value)
        if isinstance(value, Path):
            # Links are not resolved: those of the Hugging Face cache lead to names without an ending.
            return _content(value.expanduser().absolute(), f"{part.name}.{name}")
        if isinstance(value, tuple):
            return [plain(name, item) for item in value]
        return value

    values: dict[str, Any] = {"part": part.name, "kind": part.kind, "version": part.version}
    values["fields"] = {entry.name: plain(entry.name, getattr(part, entry.name)) for entry in fields(part)}
    return values | third_party_code(type(part))


def without_paths(value: Any) -> Any:
    """Return an identity without the paths of files, for keys. A path does not decide any result."""
    if isinstance(value, dict):
        names = [name for name in value if not (name == "file" and "sha256" in value)]
        return {name: without_paths(value[name]) for name in names}
    if isinstance(value, list):
        return list(map(without_paths, value))
    return value


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


def third_party_code(cls: type) -> dict[str, list[str]]:
    """Return {"code": hashes} of the source of a third-party class, or {} for a class of our own.

    The hashes cover the modules that define it and its bases, and the modules that these import from their
    own distributions.
    """
    modules = {base.__module__ for base in cls.__mro__} - {"builtins", "abc", "typing"}
    foreign = frozenset(name for name in modules if name.partition(".")[0] not in OWN_PACKAGES)
    if not foreign:
        return {}
    return {"code": [code_hash(name) for name in sorted(foreign | helpers(foreign))]}
