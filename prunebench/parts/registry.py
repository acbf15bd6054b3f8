"""The registry: loads plugins from entry points and finds their parts by name.

A broken plugin is reported and never fatal. Built-in parts are found in the same way as third-party ones:
through the entry-point group `prunebench`.
"""

from __future__ import annotations

import hashlib
import os
import re
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import pluggy

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts import hookspecs
from prunebench.parts.base import PROXY, Backbone, Draw, Labeler, Part, Scorer, Selector, check_class
from prunebench.parts.blinded import blinded
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
    "draws": Draw,
    "methods": Method,
}
PARTS = ("backbone", "labeler", "scorer", "selector", "draw")
CHECKED = (*PARTS, "dataset")  # the kinds of which `prunebench check` tests the contract
LONGEST_WORDS = 40  # bytes of a folder's name in the name of its dataset
Installed = tuple[str, str, EntryPoint]  # distribution, release and entry point of a plugin
Listener = Callable[..., object]  # is called as listener(row=row)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


@dataclass(frozen=True)
class Plugin:
    """One entry point and its state.

    distribution: name of the distribution that has it.
    release: version of that distribution.
    entry: name of the entry point.
    module: module that it names, or the path of a distribution whose metadata cannot be read.
    error: why the plugin is broken, or None.
    used: True if loading it was tried.
    """

    distribution: str
    release: str
    entry: str
    module: str
    error: str | None = None
    used: bool = True


@dataclass
class Registry:
    """Everything that plugins registered.

    plugins: all plugins, loaded or not.
    found: the registered items, by kind and name.
    owners: the distribution that registered an item, by (kind, name).
    listeners: the distributions that are told of finished cells, each with its hook `cell_finished`.
    executors: the distribution that registered an executor and what makes it, by name.
    """

    plugins: list[Plugin] = field(default_factory=list)
    found: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    listeners: list[tuple[str, Listener]] = field(default_factory=list)
    executors: dict[str, tuple[str, Callable[..., Any]]] = field(default_factory=dict)

    def add(self, owner: str, offered: Mapping[str, list[Any]], executors: Mapping[str, Any]) -> None:
        """Register all items and executors of one plugin, or none of them.

        Raise TypeError if an item is of the wrong type, is incomplete or has a name that is taken.
        """
        self._check_executors(owner, executors)
        accepted: dict[tuple[str, str], Any] = {}
        for kind, items in offered.items():
            for item in items:
                name = _checked_name(kind, item)
                holder = self.owners.get((kind, name))
                if holder is None and (kind, name) in accepted:
                    holder = owner
                if holder:
                    raise TypeError(f"{kind[:-1]} {name!r} is offered by {owner} and by {holder}")
                accepted[kind, name] = item
        for (kind, name), item in accepted.items():
            self.found[kind][name] = item
            self.owners[kind, name] = owner
        self.executors |= {name: (owner, factory) for name, factory in executors.items()}

    def _check_executors(self, owner: str, offered: Mapping[str, Any]) -> None:
        """Raise TypeError if an executor cannot be called, or has a name that is taken or cannot be one."""
        for name, factory in offered.items():
            if not (NAME.fullmatch(str(name)) and callable(factory)):
                raise TypeError(f"register_executors returned {name!r}: {factory!r}, expected NAME: FACTORY")
            if name in self.executors:
                raise TypeError(f"executor {name!r} is offered by {owner} and by {self.executors[name][0]}")

    def described(self, kind: str, name: str) -> str:
        """Return the name of a part with its distribution, such as "scorer 'dual' of prunebench"."""
        return f"{kind} {name!r} of {self.owners.get((f'{kind}s', name), 'nobody')}"

    def get(self, kind: str, name: str) -> Any:
        """Return the registered item `name`. Raise PrunebenchError with the nearest name if there is none."""
        known = self.found.get(kind, {})  # a stored identity may have a kind that does not exist
        if name not in known:
            if kind == "methods":
                self._check_used(name)
            raise unknown(kind[:-1], name, known, f"prunebench list {kind}{self.broken()}")
        return known[name]

    def _check_used(self, name: str) -> None:
        """Raise PrunebenchError if a part of this name is in no method, so that there is none to choose."""
        methods = self.found["methods"].values()
        for kind in ("labeler", "scorer", "selector"):
            used = {part.name for method in methods if (part := getattr(method, kind))}
            if name in {*self.found[f"{kind}s"]} - used:
                raise PrunebenchError(
                    f"no method named {name!r}. It is a {kind} that no method uses yet; "
                    "register_methods of its plugin offers one. See: docs/plugins.md"
                )

    def check_healthy(self) -> None:
        """Raise PrunebenchError with the names of the broken plugins, if there are any."""
        if broken := [f"{plugin.distribution} ({plugin.error})" for plugin in self.plugins if plugin.error]:
            raise PrunebenchError(f"--strict: broken plugins: {'; '.join(broken)}. Uninstall or mend them")

    def broken(self) -> str:
        """Return what to say of broken plugins beside a name that is unknown, perhaps as it is theirs."""
        names = ", ".join(sorted({plugin.distribution for plugin in self.plugins if plugin.error}))
        return f" (broken plugins: {names}; see: prunebench list plugins)" if names else ""

    def part(self, kind: str, given: str | Mapping[str, Any]) -> Part:
        """Make a part from its name, from NAME:VALUE, or from a TOML table {part = NAME, FIELD = VALUE, ...}.

        NAME:VALUE sets the field that the part calls its `argument`.
        """
        values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"part": given}
        if not isinstance(values.get("part"), str):
            raise PrunebenchError(f"a {kind} is written as a name or as {{part = NAME, ...}}, not {given!r}")
        name, colon, argument = values["part"].partition(":")
        cls = self.get(f"{kind}s", name)
        values = _without(values, "part")
        if colon:
            if cls.argument is None:
                raise PrunebenchError(f"{kind} {name}:{argument}: {name} takes no value; write {name} alone")
            values[cls.argument] = argument
        for field_name, value in values.items():
            # A table in a field is a part too. Its kind is that of the field's name, unless it says another.
            if isinstance(value, Mapping) and (inner_kind := value.get("kind", field_name)) in PARTS:
                values[field_name] = self.part(inner_kind, _without(value, "kind"))
        return self._constructed(cls, values)

    def rebuild(self, identity: Mapping[str, Any]) -> Part:
        """Make the part of an identity, as `prunebench.parts.identity.identity` returns it."""

        def value_of(value: Any) -> Any:
            if isinstance(value, Mapping):
                return value["file"] if "file" in value else self.rebuild(value)
            if isinstance(value, list):
                return tuple(map(value_of, value))
            return value

        values = {name: value_of(value) for name, value in identity["fields"].items()}
        return self._constructed(self.get(f"{identity['kind']}s", identity["part"]), values)

    @staticmethod
    def _constructed(cls: type[Part], values: Mapping[str, Any]) -> Part:
        return construct(cls, values, cls.name)

    def titles(self) -> dict[str, str]:
        """Return the titles of registered datasets by name, of those with a title other than the name."""
        values = [item for item in self.found["datasets"].values() if not isinstance(item, type)]
        return {item.name: item.title for item in values if item.title != item.name}

    def dataset(self, spec: str | Mapping[str, Any]) -> Dataset:
        """Return a registered dataset, or make one from a path or a table.

        spec: one of
            NAME, a registered dataset.
            FAMILY:PATH@PIXELS, a dataset that takes a path.
            a mapping with `family` and fields, as in a `[dataset.NAME]` table, and its `name`.
            a mapping with `of`, another spec, and the fields of its dataset to change.
            a mapping with `blinded`, another spec, whose dataset is blinded.

        A path is resolved, so that neither the working folder nor a link changes the dataset. Raise
        PrunebenchError for anything else, and for a path that cannot be used.
        """
        if isinstance(spec, Mapping):
            values: dict[str, Any] = dict(anchored(spec))  # type: ignore[arg-type]
            if "of" in values:
                base = self.dataset(values.pop("of"))
                base_values = {entry.name: getattr(base, entry.name) for entry in fields(base)}
                return construct(type(base), base_values | values, f"dataset {base.name}")
            if "blinded" in values:
                return blinded(self.dataset(values["blinded"]))
            cls = self.get("datasets", values.pop("family"))
            return construct(cls, values, f"dataset {values.get('name')}")  # type: ignore[no-any-return]
        if not isinstance(spec, str):
            raise PrunebenchError(f"dataset {spec!r} is neither a name nor FAMILY:PATH@PIXELS")
        family, colon, rest = spec.partition(":")
        item = self.get("datasets", family)
        if not isinstance(item, type):
            if colon:
                raise PrunebenchError(f"dataset {spec!r}: {family} takes no path; write {family} alone")
            return item  # type: ignore[no-any-return]
        path, _, side = rest.rpartition("@")
        if not path or not re.fullmatch("[0-9]{1,6}", side):
            raise PrunebenchError(
                f"dataset {spec!r}: write it as {family}:PATH@PIXELS, such as {family}:photos@64"
            )
        path = _placed(family, path)
        name = _name_at(family, path, side)
        values = {"name": name, "path": path, "side": int(side)}
        return construct(item, values, f"dataset {name}")

    def resolve_backbones(self, part: Part) -> Part:
        """Replace the names of backbones in the fields of `part` by the backbones. "proxy" stays a name."""

        def resolved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(resolved, value))
            if isinstance(value, str) and value != PROXY:
                return self.part("backbone", value)
            return value

        def visit(inner: Part) -> Part:
            backbone = getattr(inner, "backbone", None)
            if backbone is None:
                return inner
            return construct(type(inner), vars(inner) | {"backbone": resolved(backbone)}, inner.name)

        return map_parts(part, visit)


def anchored(spec: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Return a spec for `Registry.dataset` with its path resolved, so that it holds in any working folder."""
    if isinstance(spec, str):
        family, _, rest = spec.partition(":")
        path, _, side = rest.rpartition("@")
        return f"{family}:{_placed(family, path)}@{side}" if path else spec
    if not isinstance(spec, Mapping):
        return spec  # for `Registry.dataset` to refuse
    values = dict(spec)
    inner = next((key for key in ("of", "blinded") if key in values), None)
    if inner is not None:
        values[inner] = anchored(values[inner])
    elif isinstance(values.get("path"), str):
        values["path"] = _placed(values.get("family"), values["path"])
    return values


def _placed(family: object, path: str) -> str:
    """Return the path of a dataset, resolved if it is one on this machine."""
    is_remote = getattr(load().found["datasets"].get(str(family)), "remote", False)
    return path if is_remote else _resolved(path)


def _resolved(path: str) -> str:
    try:
        resolved = str(Path(path).expanduser().resolve())
        resolved.encode()  # half a character cannot be written to a row
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, no home, no text
        raise PrunebenchError(f"the path {path!r} cannot be used: {error}") from None
    return resolved


def _name_at(family: str, path: str, side: str) -> str:
    """Return the name of the dataset at a path, made of its folder's name and a hash, for use in file names.

    The hash covers the whole path. So no two paths share a name, even on a disk that ignores case.
    """
    words = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", Path(path).name)).strip("_-")
    short = words.encode()[:LONGEST_WORDS].decode(errors="ignore")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return "-".join(filter(None, (family, short, side, digest)))


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _checked_name(kind: str, item: Any) -> str:
    """Return the name of an item of a plugin. Raise TypeError if it is not of the type of its hook."""
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
    """Load every plugin once: our own first, then third-party ones by name.

    An error in one plugin marks it as broken and does not stop the others.
    """
    registry = Registry()
    installed, unreadable = _installed()
    for distribution, release, entry in _entry_points(installed):
        error = None
        try:
            hooks = _hooks(entry) if distribution == OWN_DISTRIBUTION else _hooks_of_third_party(entry)
            registry.add(distribution, hooks.items, hooks.executors)
            registry.listeners += [(distribution, listener) for listener in hooks.listeners]
        except Exception as problem:
            prefix = "" if isinstance(problem, PrunebenchError) else f"{type(problem).__name__}: "
            error = f"{prefix}{problem}".splitlines()[0]
        registry.plugins.append(Plugin(distribution, release, entry.name, entry.value, error))
    registry.plugins += [*_left_out(installed), *unreadable]
    return registry


def said(error: BaseException) -> str:
    """Return what an error says, in one line.

    One that was not written for users has its class, and the last line of a plugin in its traceback.
    """
    lines = (line.strip() for line in str(error).splitlines())
    text = " ".join(line for line in lines if line)
    if isinstance(error, PrunebenchError):
        return text
    packages = {plugin.module.partition(".")[0] for plugin in load().plugins}
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__")).split(".")
        if module[0] in packages:
            file = Path(frame.f_code.co_filename)
            within = len(module) if file.stem == "__init__" else len(module) - 1
            place = f" ({Path(*file.parts[-1 - within :]).as_posix()}:{line})"
    return f"{type(error).__name__}: {text}{place}"


@dataclass(frozen=True)
class _Hooks:
    """The hooks of one plugin: items by kind, executors by name, and what is told of finished cells."""

    items: dict[str, list[Any]]
    executors: dict[str, Any]
    listeners: list[Listener]


def _hooks_of_third_party(entry: EntryPoint) -> _Hooks:
    """Return the hooks of a third-party plugin, after another process survived its import."""
    survive(entry)
    with isolated(f"importing {entry.value}", resting=False):
        return _hooks(entry)


def attempt(name: str, value: str, group: str) -> NoReturn:
    """Load a plugin as `load` does, then end the process at once with the code `SURVIVED`."""
    with suppress(BaseException):
        _hooks(EntryPoint(name, value, group))
    os._exit(SURVIVED)


def _hooks(entry: EntryPoint) -> _Hooks:
    """Import one plugin and return its hooks. Raise an error for a misspelled hook."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load())
    manager.check_pending()
    offered = {}
    for kind in KINDS:
        hook = getattr(manager.hook, f"register_{kind}")
        returned = hook()
        if len(returned) < len(hook.get_hookimpls()):  # pluggy drops results that are None
            raise TypeError(f"register_{kind} returned None, expected a list")
        offered[kind] = [item for items in returned for item in items]
    told = manager.hook.cell_finished
    return _Hooks(offered, _executors(manager), [told] if told.get_hookimpls() else [])


def _executors(manager: pluggy.PluginManager) -> dict[str, Any]:
    """Return what makes the executors of one plugin, by name. Raise TypeError if it returns anything else."""
    hook = manager.hook.register_executors
    found: Any = next(iter(hook()), None) if hook.get_hookimpls() else {}
    if not isinstance(found, dict):
        raise TypeError(f"register_executors returned {found!r}, expected NAME: FACTORY in a dict")
    return found


def _entry_points(installed: Iterable[Installed]) -> Iterator[Installed]:
    """Yield the plugins to load: our own first, then those that the user allows."""

    def order(plugin: Installed) -> tuple[bool, str, str]:
        distribution, _release, entry = plugin
        return distribution != OWN_DISTRIBUTION, distribution, entry.name

    for plugin in sorted(installed, key=order):
        if _allowed(plugin[0]):
            yield plugin


def _left_out(installed: Iterable[Installed]) -> Iterator[Plugin]:
    """Yield the plugins that the user left out. Warn of those that the user names and nobody installed."""
    for name, release, entry in installed:
        if not _allowed(name):
            yield Plugin(name, release, entry.name, entry.value, used=False)
    missing = _wanted() - {_normal(name) for name, _, _ in installed}
    for name in sorted(missing):
        warn(
            f"PRUNEBENCH_PLUGINS names {name}, but no such plugin is installed. See: prunebench list plugins"
        )


def _installed() -> tuple[list[Installed], list[Plugin]]:
    """Return the entry points of our group, and a broken plugin for each distribution that is unreadable."""
    by_distribution: dict[str, list[Installed]] = {}
    unreadable = []
    for distribution in distributions():
        try:
            entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
            if entries:
                metadata = distribution.metadata  # every access parses the file again
                name, release = metadata["Name"], metadata["Version"]
                # If a distribution is installed twice, Python imports the first one.
                by_distribution.setdefault(_normal(name), [(name, release, entry) for entry in entries])
        except Exception as problem:  # a damaged file may raise anything
            error = f"its metadata cannot be read: {type(problem).__name__}: {problem}".splitlines()[0]
            path = str(distribution.locate_file(""))
            unreadable.append(Plugin(_name(distribution), "?", "?", path, error, used=False))
    return list(chain.from_iterable(by_distribution.values())), unreadable


def _name(distribution: Distribution) -> str:
    """Return the name of a distribution, or "?" if its metadata does not give one."""
    try:
        return distribution.name or "?"
    except Exception:
        return "?"


def _wanted() -> set[str]:
    """Return the distributions that PRUNEBENCH_PLUGINS names. The name "none" stands for no distribution."""
    names = os.environ.get("PRUNEBENCH_PLUGINS", "").split(",")
    return {_normal(name.strip()) for name in names} - {"", "none"}


def _allowed(distribution: str) -> bool:
    unrestricted = "PRUNEBENCH_PLUGINS" not in os.environ
    return unrestricted or distribution == OWN_DISTRIBUTION or _normal(distribution) in _wanted()


def _normal(name: str) -> str:
    """Return the normalized name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
