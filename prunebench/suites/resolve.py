"""A suite file plus the user's filters -> an ordered list of cells, every value resolved."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.base import Backbone, Labeler, Part
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import at_defaults, change, construct, map_parts
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import Registry
from prunebench.suites.cells import Cell, Filters
from prunebench.suites.printed import Printed, printed
from prunebench.suites.recipes import by_lineage, recipe_for
from prunebench.suites.resources import parse_toml
from prunebench.suites.schema import Suite, seed_list
from prunebench.suites.tuning import RULES, Search, held, searches

MATCHED = "random_matched"
FIELDS = ("name", "side", "on_bad", "cache")  # of a [dataset.NAME] table, beside a family and its path
METHOD_KEYS = ("title", "labeler", "scorer", "selector")


class Resolver:
    """Turns names from a suite and its filters into values, by one registry."""

    def __init__(self, suite: Suite, filters: Filters, registry: Registry) -> None:
        self.suite, self.filters, self.registry = suite, filters, registry

    def dataset(self, name: str) -> Dataset:
        """Return a dataset by name: one of the suite's own tables, a registered one, or FAMILY:PATH@SIDE."""
        return self.registry.dataset(dataset_spec(self.suite, name, self.filters.on_bad))

    def methods(self) -> list[str]:
        """Return the names of the methods to run; references come along unless methods were chosen."""
        file, chosen = self.suite.file, self.filters.methods
        return (
            [*file.methods, *file.references] if chosen is None or list(chosen) == ["all"] else list(chosen)
        )

    def method(self, name: str) -> Method:
        """Return a method by name: one of the suite's own tables, or a registered one."""
        table = self.suite.file.method.get(name)
        if table is None:
            found: Method = self.registry.get("methods", name)
            return found
        if wrong := set(table) - set(METHOD_KEYS):
            raise unknown(f"key of method {name}", min(wrong), METHOD_KEYS, "docs/suites.md")
        title = table.get("title", name)
        if not isinstance(title, str):
            raise PrunebenchError(
                f"title of method {name!r} in suite {self.suite.name!r} is {title!r}, not text"
            )
        parts = {kind: self.registry.part(kind, given) for kind, given in table.items() if kind != "title"}
        if "selector" not in parts:
            raise PrunebenchError(f"method {name!r} in suite {self.suite.name!r} needs a selector")
        return Method(name=name, title=title, **parts)  # type: ignore[arg-type]

    def check_names(self) -> None:
        """Raise PrunebenchError where a table of the suite has the name of something that is registered."""
        tables = {"methods": self.suite.file.method, "datasets": self.suite.file.dataset}
        for kind, own in tables.items():
            for name in own:
                registered = self.registry.found[kind].get(name)
                named = registered is not None and not isinstance(registered, type)  # a family has no rows
                if named or name == MATCHED:
                    table = f"[{kind.removesuffix('s')}.{name}]"
                    raise PrunebenchError(
                        f"{table} of {self.suite.path.name}: {name!r} is another of the {kind} already; "
                        f"choose another name. See: prunebench list {kind}"
                    )

    def check_grids(self) -> None:
        """Raise PrunebenchError where the suite has grids for a part that is none."""
        known = {*self.registry.found["scorers"], *self.registry.found["selectors"]}
        for name in self.suite.file.grids:
            if name not in known:
                raise unknown(
                    f"scorer or selector in [grids] of {self.suite.path.name}", name, known, "docs/tuning.md"
                )

    def fixed(self, method: Method) -> set[tuple[str, str]]:
        """Return the (part, field) of a method that were set by hand, by --set or in a suite's own table."""
        own = self.method(method.name.partition("{")[0])
        parts = (part for top in (own.scorer, own.selector) if top for part in held(top))
        found = {
            (part.name, e.name) for part in parts for e in fields(part) if e.name not in at_defaults(part)
        }
        return found | {path.rpartition(".")[::2] for path in self.filters.changes}

    def resolved(
        self, method: Method, defaults: Mapping[str, Mapping[str, Any]], proxy: Backbone | None = None
    ) -> Method:
        """Fill in what recipe and flags say about the parts of a method, and its backbones.

        The name of the result tells which changes concern it: see `concerning`.
        """

        def visit(part: Part) -> Part:
            return self._filled(part, defaults)

        def inside(part: Part) -> Part:
            return visit(part) if isinstance(part, Backbone) else part

        # First what names backbones; then these are looked up, and what is said about them filled in.
        named = {kind: map_parts(part, visit) for kind, part in method.parts.items()}
        found = {kind: self.registry.resolve_backbones(part) for kind, part in named.items()}
        parts = {kind: map_parts(part, inside) for kind, part in found.items()}
        made: Method = replace(method, **parts)  # type: ignore[arg-type]
        # Sorted, so that a variant has one name, in whatever order its changes were given.
        changes = sorted(self.concerning(made, proxy).items())
        suffix = "{" + ",".join(f"{path}={value}" for path, value in changes) + "}" if changes else ""
        return replace(made, name=made.name + suffix, title=made.title + suffix)

    def concerning(self, method: Method, proxy: Backbone | None) -> dict[str, Any]:
        """Return the changes that a method depends on: of its parts, its proxy's backbone, the recipe."""
        parts = [*method.parts.values(), *([proxy] if proxy and method.labeler else [])]
        owners = {"recipe", *(inner.name for part in parts for inner in held(part))}
        return {path: value for path, value in self.filters.changes.items() if _owner(path) in owners}

    def _filled(self, part: Part, defaults: Mapping[str, Mapping[str, Any]]) -> Part:
        """Return one part with its open fields as the recipe has them, and those that flags change."""
        open_fields = at_defaults(part)
        given = {k: v for k, v in defaults.get(part.name, {}).items() if k in open_fields}
        changes = self.filters.changes.items()
        given |= {path.rpartition(".")[2]: value for path, value in changes if _owner(path) == part.name}
        filled = change(part, given, part.name) if given else part
        return filled if "sampling" in given else self._drawing(filled)

    def _drawing(self, part: Part) -> Part:
        """Return a labeler with the suite's draw; any other part, and one that draws nothing, as it is."""
        draws = isinstance(part, Labeler) and 0 < part.annotation < 1 and part.sampling == "uniform"
        return replace(part, sampling=self.suite.file.label_draw) if draws else part  # type: ignore[call-arg]

    def proxy(self, recipe: Recipe, defaults: Mapping[str, Mapping[str, Any]]) -> Backbone | None:
        """Return the backbone on whose embeddings the proxy network trains, where the recipe names one."""
        if recipe.proxy_backbone is None:
            return None
        part = self._filled(self.registry.part("backbone", recipe.proxy_backbone), defaults)
        assert isinstance(part, Backbone)
        return part

    def recipe(self, dataset: Dataset) -> tuple[str, Recipe, dict[str, dict[str, Any]]]:
        """Return the name and the recipe for a dataset, and what it says about parts."""
        given = self.filters.recipe or self.suite.file.recipe
        name = given if isinstance(given, str) else by_lineage(given, dataset) or given.get("default", "")
        recipe, defaults = recipe_for(name, dataset)
        changed = {path: value for path, value in self.filters.changes.items() if path.startswith("recipe.")}
        fields = asdict(recipe) | {path.removeprefix("recipe."): value for path, value in changed.items()}
        return name, construct(Recipe, fields, "recipe"), defaults


def _owner(path: str) -> str:
    return path.rpartition(".")[0]


def dataset_spec(suite: Suite, name: str, on_bad: str | None = None) -> str | dict[str, Any]:
    """Return what the registry makes the dataset from: its name, or the suite's `[dataset.NAME]` table.

    Such a table says `folder = "photos"` and `side = 64`: a family that takes a path, and its fields; or
    `of = "food101"` and the fields that differ. on_bad: what to do with images that cannot be read.
    """
    table = suite.file.dataset.get(name)
    spec: str | dict[str, Any] = name
    if table is not None:
        own = {"name": name, **table}
        family = next((key for key in table if key not in FIELDS), None)
        if family is None:
            raise PrunebenchError(
                f"[dataset.{name}] needs `folder = PATH` and `side = PIXELS`, or `of = NAME`"
            )
        spec = own if family == "of" else {"family": family, "path": own.pop(family), **own}
    return spec if on_bad is None else {"of": spec, "on_bad": on_bad}


def cells(suite: Suite, filters: Filters, registry: Registry) -> list[Cell]:
    """Return the cells of a suite in the order of its lists, after the user's filters."""
    resolver, file = Resolver(suite, filters, registry), suite.file
    seeds = filters.seeds if filters.seeds is not None else seed_list(file.seeds)
    tuning = filters.tuning or file.tuning
    if tuning not in RULES:
        raise unknown("tuning rule", tuning, RULES, "docs/suites.md")
    resolver.check_names()
    resolver.check_grids()
    found: list[Cell] = []
    for dataset_name in filters.datasets or file.datasets:
        dataset = resolver.dataset(dataset_name)
        recipe_name, recipe, defaults = resolver.recipe(dataset)
        recipe.seen(dataset.resolution)  # an impossible side is an error before anything runs
        proxy = resolver.proxy(recipe, defaults)
        wanted = resolver.methods()
        methods = [resolver.resolved(resolver.method(n), defaults, proxy) for n in wanted if n != MATCHED]
        if MATCHED in wanted:
            methods += [_matched(m, registry) for m in methods if 0 < m.annotation < 1 and not m.reference]
        shared: dict[str, Any] = {"suite": suite.name, "dataset": dataset, "repeats": file.repeats}
        shared |= {"recipe_name": recipe_name, "recipe": recipe, "tuning": tuning}
        for method in methods:
            chooses = method.beside or method
            tried = searches(chooses, file.grids, resolver.fixed(chooses))
            own: dict[str, Any] = {
                "method": method,
                "proxy": proxy if chooses.labeler else None,
                "searches": tried,
                "printed": _printed(chooses, dataset, tried) if tuning == "published" else (),
                "changes": resolver.concerning(chooses, proxy),
            }
            ratios = filters.ratios or file.ratios if method.ratio is None else [method.ratio]
            for ratio in ratios:
                method.selector.at(ratio)  # an impossible ratio is an error before anything runs
                found += [Cell(**shared, **own, ratio=ratio, seed=seed) for seed in seeds]
    _check_changes(filters, found)
    return list(dict.fromkeys(found))  # what was named twice is run once


def _printed(method: Method, dataset: Dataset, tried: Sequence[Search]) -> tuple[Printed, ...]:
    """Return what a paper printed for the open fields of a method on a dataset."""
    name = method.name.partition("{")[0]
    found = (printed(search, name, dataset.name) for search in tried)
    return tuple(one for one in found if one is not None)


def _matched(method: Method, registry: Registry) -> Method:
    """Return the Random that keeps as many images as `method` bought labels in all."""
    return Method(
        name=f"{MATCHED}{{{method.name}}}",
        title=f"Random with as many labels as {method.title}",
        selector=registry.part("selector", "random"),  # type: ignore[arg-type]
        reference=True,
        beside=method,
    )


def _check_changes(filters: Filters, found: list[Cell]) -> None:
    """Raise PrunebenchError for a --set that touched no cell."""
    made = {path for cell in found for path in cell.changes}
    for path in filters.changes:
        if path not in made:
            raise PrunebenchError(
                f"--set {path}: no chosen method has such a part. See: prunebench list methods"
            )


def parse_change(text: str) -> tuple[str, Any]:
    """Split `PART.field=value`; the value is read as TOML, or else as a plain string."""
    path, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.+-]+\.\w+", path):
        raise PrunebenchError(f"--set {text!r}: write it as PART.field=value or recipe.field=value")
    try:
        return path, parse_toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value
    except PrunebenchError as error:
        raise PrunebenchError(f"--set {path}: {error}") from None
