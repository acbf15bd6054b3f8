"""From entry points to parts by name. A plugin that is broken is reported, never fatal.

Built-in parts are found exactly as a stranger's are: through the entry-point group `prunebench`.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, NoReturn

import pluggy

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts import hookspecs
from prunebench.parts.base import PROXY, Backbone, Labeler, Part, Scorer, Selector, check_class
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import construct, map_parts
from prunebench.parts.method import Method
from prunebench.parts.trial import SURVIVED, survive
from prunebench.system.isolation import isolated, warn

GROUP = "prunebench"
OWN_DISTRIBUTION = "prunebench"
KINDS: dict[str, type] = {
    "datasets": Dataset,
    "backbones": Backbone,
    "labelers": Labeler,
    "scorers": Scorer,
    "selectors": Selector,
    "methods": Method,
}
PARTS = ("backbone", "labeler", "scorer", "selector")
LONGEST_WORDS = 40  # bytes of a folder's name in that of its dataset
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


@dataclass(frozen=True)
class Plugin:
    """One entry point and what became of it.

    error: None, or why it is broken. used: whether anybody tried to load it.
    """

    distribution: str
    release: str
    entry: str
    module: str
    error: str | None = None
    used: bool = True


@dataclass
class Registry:
    """Everything that plugins registered, by kind and name, and the plugins themselves."""

    plugins: list[Plugin] = field(default_factory=list)
    found: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    owners: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, owner: str, offered: Mapping[str, list[Any]]) -> None:
        """Take in all that one plugin offers, or, where anything is wrong, nothing of it."""
        accepted: dict[tuple[str, str], Any] = {}
        for kind, items in offered.items():
            for item in items:
                name = _checked_name(kind, item)
                if holder := self.owners.get((kind, name)) or (owner if (kind, name) in accepted else None):
                    raise TypeError(f"{kind[:-1]} {name!r} is offered by {owner} and by {holder}")
                accepted[kind, name] = item
        for (kind, name), item in accepted.items():
            self.found[kind][name] = item
            self.owners[kind, name] = owner

    def described(self, kind: str, name: str) -> str:
        """Name a part together with the distribution that offers it: scorer 'dual' of prunebench."""
        return f"{kind} {name!r} of {self.owners.get((f'{kind}s', name), 'nobody')}"

    def get(self, kind: str, name: str) -> Any:
        """Return what is registered under `name`; raise PrunebenchError with the nearest names."""
        known = self.found.get(kind, {})  # a field of a part may be given a part of no such kind
        if name not in known:
            raise unknown(kind[:-1], name, known, f"prunebench list {kind}{self._broken()}")
        return known[name]

    def check_healthy(self) -> None:
        """Raise PrunebenchError naming the plugins that are broken, if any is."""
        if broken := [f"{p.distribution} ({p.error})" for p in self.plugins if p.error]:
            raise PrunebenchError(f"--strict: broken plugins: {'; '.join(broken)}. Uninstall or mend them")

    def _broken(self) -> str:
        names = ", ".join(sorted({plugin.distribution for plugin in self.plugins if plugin.error}))
        return f" (broken plugins: {names}; see: prunebench list plugins)" if names else ""

    def part(self, kind: str, given: str | Mapping[str, Any]) -> Part:
        """Make a part from its name, or from {part = NAME, FIELD = VALUE, ...}, as TOML spells it."""
        values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"part": given}
        if not isinstance(values.get("part"), str):
            raise PrunebenchError(f"a {kind} is written as a name or as {{part = NAME, ...}}, not {given!r}")
        cls = self.get(f"{kind}s", values["part"])
        values = _without(values, "part")
        for field_name, value in values.items():
            if isinstance(value, Mapping) and (held := value.get("kind", field_name)) in PARTS:
                values[field_name] = self.part(held, _without(value, "kind"))
        return self._constructed(cls, values)

    def rebuild(self, identity: Mapping[str, Any]) -> Part:
        """Make the part that `identity.identity` described."""

        def value_of(value: Any) -> Any:
            if isinstance(value, Mapping):
                return value["file"] if "file" in value else self.rebuild(value)
            return tuple(map(value_of, value)) if isinstance(value, list) else value

        values = {name: value_of(value) for name, value in identity["fields"].items()}
        return self._constructed(self.get(f"{identity['kind']}s", identity["part"]), values)

    @staticmethod
    def _constructed(cls: type[Part], values: Mapping[str, Any]) -> Part:
        return construct(cls, values, cls.name)

    def titles(self) -> dict[str, str]:
        """Return the titles of the registered datasets that have another than their name, by name."""
        values = [item for item in self.found["datasets"].values() if not isinstance(item, type)]
        return {item.name: item.title for item in values if item.title != item.name}

    def dataset(self, spec: str | Mapping[str, Any]) -> Dataset:
        """Return a registered dataset by name, or make one that takes a path.

        `spec` is NAME, or FAMILY:PATH@RESOLUTION, or the fields of a `[dataset.NAME]` table together
        with its `name` and `family`, or with `of`, another spec of whose dataset the fields are changed.
        A path is resolved: the dataset is the same whatever the working folder, and by whatever link.
        """
        if isinstance(spec, Mapping):
            values: dict[str, Any] = dict(anchored(spec))  # type: ignore[arg-type]
            if "of" in values:
                base = self.dataset(values.pop("of"))
                given = {entry.name: getattr(base, entry.name) for entry in fields(base)} | values
                return construct(type(base), given, f"dataset {base.name}")
            cls = self.get("datasets", values.pop("family"))
            return construct(cls, values, f"dataset {values.get('name')}")  # type: ignore[no-any-return]
        if not isinstance(spec, str):
            raise PrunebenchError(f"dataset {spec!r} is neither a name nor FAMILY:PATH@RESOLUTION")
        family, colon, rest = spec.partition(":")
        found = self.get("datasets", family)
        if not isinstance(found, type):
            if colon:
                raise PrunebenchError(f"dataset {spec!r}: {family} takes no path; write {family} alone")
            return found  # type: ignore[no-any-return]
        path, _, side = rest.rpartition("@")
        if not path or not re.fullmatch("[0-9]{1,6}", side):
            raise PrunebenchError(
                f"dataset {spec!r}: write it as {family}:PATH@RESOLUTION, such as {family}:photos@64"
            )
        path = _resolved(path)
        name = _name_at(family, path, side)
        made = {"name": name, "path": path, "side": int(side)}
        return construct(found, made, f"dataset {name}")

    def resolve_backbones(self, part: Part) -> Part:
        """Replace the names of backbones in `part`'s fields by the backbones; "proxy" stays a name."""

        def resolved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(resolved, value))
            return self.part("backbone", value) if isinstance(value, str) and value != PROXY else value

        def visit(inner: Part) -> Part:
            backbone = getattr(inner, "backbone", None)
            if backbone is None:
                return inner
            return construct(type(inner), vars(inner) | {"backbone": resolved(backbone)}, inner.name)

        return map_parts(part, visit)


def anchored(spec: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Return what `Registry.dataset` takes with its path resolved: the same in any working folder."""
    if isinstance(spec, str):
        family, _, rest = spec.partition(":")
        path, _, side = rest.rpartition("@")
        return f"{family}:{_resolved(path)}@{side}" if path else spec
    if not isinstance(spec, Mapping):
        return spec  # for `Registry.dataset` to refuse
    values = dict(spec)
    if "of" in values:
        values["of"] = anchored(values["of"])
    elif isinstance(values.get("path"), str):
        values["path"] = _resolved(values["path"])
    return values


def _resolved(path: str) -> str:
    try:
        place = str(Path(path).expanduser().resolve())
        place.encode()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, no home, no text
        raise PrunebenchError(f"the path {path!r} cannot be used: {error}") from None
    return place


def _name_at(family: str, path: str, side: str) -> str:
    """Name the dataset at a path: after its folder, as far as that makes a file name, with a hash.

    The hash is of the whole path, so that no two paths share a name, not even where case does not count.
    """
    words = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", Path(path).name)).strip("_-")
    short = words.encode()[:LONGEST_WORDS].decode(errors="ignore")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return "-".join(filter(None, (family, short, side, digest)))


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _checked_name(kind: str, item: Any) -> str:
    """Return the name of an offered item, raising TypeError unless it is what its hook promises."""
    base = KINDS[kind]
    if issubclass(base, Part):
        if not (isinstance(item, type) and issubclass(item, base)):
            raise TypeError(f"register_{kind} returned {item!r}, expected subclasses of {base.__name__}")
        check_class(item)
        name = item.name
    elif isinstance(item, type) and issubclass(item, Dataset) and kind == "datasets":
        name = item.__dataclass_fields__["name"].default  # type: ignore[assignment]
    elif isinstance(item, base):
        name = item.name  # type: ignore[attr-defined]
    else:
        raise TypeError(f"register_{kind} returned {item!r}, expected {base.__name__} values")
    if not NAME.fullmatch(str(name)):
        raise TypeError(f"{name!r} cannot be a name: use letters, digits, '_', '.', '+' or '-', 64 at most")
    return str(name)


@cache
def load() -> Registry:
    """Load every plugin once, our own first, then strangers' by name, each behind its own guard."""
    registry = Registry()
    for distribution, release, entry in _entry_points():
        error = None
        try:
            registry.add(distribution, _offer(entry) if distribution == OWN_DISTRIBUTION else _tried(entry))
        except Exception as problem:
            kind = "" if isinstance(problem, PrunebenchError) else f"{type(problem).__name__}: "
            error = f"{kind}{problem}".splitlines()[0]
        registry.plugins.append(Plugin(distribution, release, entry.name, entry.value, error))
    registry.plugins += _left_out()
    return registry


def _tried(entry: EntryPoint) -> dict[str, list[Any]]:
    """Return what a stranger's plugin offers, after another process survived its import."""
    survive(entry)
    with isolated(f"importing {entry.value}", resting=False):
        return _offer(entry)


def attempt(name: str, value: str, group: str) -> NoReturn:
    """Do with a plugin what `load` does, then end the process at once with a code of our own."""
    with suppress(BaseException):
        _offer(EntryPoint(name, value, group))
    os._exit(SURVIVED)


def _offer(entry: EntryPoint) -> dict[str, list[Any]]:
    """Import one plugin and collect what its hooks return, checking for misspelt ones."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load())
    manager.check_pending()
    offered = {}
    for kind in KINDS:
        hook = getattr(manager.hook, f"register_{kind}")
        returned = hook()
        if len(returned) < len(hook.get_hookimpls()):  # pluggy leaves out what is None
            raise TypeError(f"register_{kind} returned None, expected a list")
        offered[kind] = [item for items in returned for item in items]
    return offered


def _entry_points() -> Iterator[tuple[str, str, EntryPoint]]:
    """Yield (distribution, release, entry point), our own first, strangers as far as the user allows."""
    found = sorted(_installed()[0], key=lambda f: (f[0] != OWN_DISTRIBUTION, f[0], f[2].name))
    yield from (entry for entry in found if _allowed(entry[0]))


def _left_out() -> Iterator[Plugin]:
    """Yield the plugins that are not loaded: the user's choice, or metadata that nobody can read."""
    found, unreadable = _installed()
    for name, release, entry in found:
        if not _allowed(name):
            yield Plugin(name, release, entry.name, entry.value, used=False)
    yield from unreadable
    strange = _wanted() - {_normal(name) for name, _, _ in found}
    for name in sorted(strange):
        warn(
            f"PRUNEBENCH_PLUGINS names {name}, but no such plugin is installed. See: prunebench list plugins"
        )


def _installed() -> tuple[list[tuple[str, str, EntryPoint]], list[Plugin]]:
    """Return the entry points of our group, and a broken plugin for each distribution that hides its own."""
    found: dict[str, list[tuple[str, str, EntryPoint]]] = {}
    unreadable = []
    for distribution in distributions():
        try:
            entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
            if entries:  # of a distribution that is there twice, Python imports the first
                named = [(distribution.name, distribution.version, entry) for entry in entries]
                found.setdefault(_normal(distribution.name), named)
        except Exception as problem:  # whatever there may be in a damaged file
            error = f"its metadata cannot be read: {type(problem).__name__}: {problem}".splitlines()[0]
            path = str(distribution.locate_file(""))
            unreadable.append(Plugin(_name(distribution), "?", "?", path, error, used=False))
    return [entry for entries in found.values() for entry in entries], unreadable


def _name(distribution: Distribution) -> str:
    """Return the name of a distribution, or "?" where its metadata does not say."""
    try:
        return distribution.name or "?"
    except Exception:
        return "?"


def _wanted() -> set[str]:
    """Return the distributions that PRUNEBENCH_PLUGINS names; "none" is none of them."""
    names = os.environ.get("PRUNEBENCH_PLUGINS", "").split(",")
    return {_normal(name.strip()) for name in names} - {"", "none"}


def _allowed(distribution: str) -> bool:
    unrestricted = "PRUNEBENCH_PLUGINS" not in os.environ
    return unrestricted or distribution == OWN_DISTRIBUTION or _normal(distribution) in _wanted()


def _normal(name: str) -> str:
    """Return the one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
