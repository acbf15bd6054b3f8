"""Turns a suite file and the user's filters into an ordered list of cells with all values resolved."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any

from prunebench.errors import PrunebenchError, unknown
from prunebench.parts.base import Backbone, Labeler, Part
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import at_defaults, change, construct, map_parts
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import Registry
from prunebench.suites.cells import Cell, Filters
from prunebench.suites.exams import exams_of
from prunebench.suites.printed import Printed, printed
from prunebench.suites.recipes import by_lineage, recipe_for
from prunebench.suites.resources import parse_toml
from prunebench.suites.schema import RUNGS, Suite, seed_list
from prunebench.suites.tuning import RULES, Search, held, searches

MATCHED = "random_matched"  # stands for a Random matched to each method with a label budget
TIMED = "random_timed"  # stands for a Random matched to each other method in work
# What they are like in a title, and what they have as much of.
TWINS = {MATCHED: ("with as many labels as", "labels"), TIMED: ("trained as long as", "work")}
FIELDS = ("name", "side", "on_bad", "cache")  # of a [dataset.NAME] table. Another key is its family or `of`
METHOD_KEYS = ("title", "labeler", "scorer", "selector")


@dataclass(frozen=True)
class Backbones:
    """The backbones that a recipe names.

    proxy: that of proxy networks, or None if they train on images.
    final: that of final networks, or None if they train on images.
    """

    proxy: Backbone | None = None
    final: Backbone | None = None

    def used_by(self, method: Method) -> list[Backbone]:
        """Return those that the networks of a method rest on. A method without labels has no proxy."""
        proxy = self.proxy if method.labeler else None
        return [backbone for backbone in (proxy, self.final) if backbone is not None]


NONE = Backbones()


class Resolver:
    """Turns the names in a suite and its filters into datasets, methods and recipes of a registry."""

    def __init__(self, suite: Suite, filters: Filters, registry: Registry) -> None:
        self.suite = suite
        self.filters = filters
        self.registry = registry

    def dataset(self, name: str) -> Dataset:
        """Return the dataset of a suite's own table, a registered one, or that of FAMILY:PATH@PIXELS."""
        return self.registry.dataset(dataset_spec(self.suite, name, self.filters.on_bad))

    def methods(self) -> list[str]:
        """Return the names of the methods to run. References are among them unless the user chose methods."""
        chosen = self.filters.methods
        if chosen is None or list(chosen) == ["all"]:
            return [*self.suite.file.methods, *self.suite.file.references]
        return list(chosen)

    def chosen(self, defaults: Mapping[str, Mapping[str, Any]], backbones: Backbones) -> list[Method]:
        """Return the methods to run as `resolved` makes them, then the Randoms that stand beside some."""
        wanted = self.methods()
        methods = [
            self.resolved(self.method(name), defaults, backbones) for name in wanted if name not in TWINS
        ]
        selecting = [method for method in methods if not method.reference and not _plain(method)]
        labeling = [method for method in selecting if 0 < method.label_fraction < 1]
        for kind, beside in ((MATCHED, labeling), (TIMED, selecting)):
            if kind in wanted:
                methods += [_twin(method, self.registry, kind) for method in beside]
        return methods

    def method(self, name: str) -> Method:
        """Return the method of a suite's own table, or a registered one.

        Raise PrunebenchError if there is no such method or its table is not valid.
        """
        table = self.suite.file.method.get(name)
        if table is None:
            registered: Method = self.registry.get("methods", name)
            return registered
        if unknown_keys := set(table) - set(METHOD_KEYS):
            raise unknown(f"key of method {name}", min(unknown_keys), METHOD_KEYS, "docs/suites.md")
        title = table.get("title", name)
        if not isinstance(title, str):
            raise PrunebenchError(
                f"title of method {name!r} in suite {self.suite.name!r} is {title!r}, not text"
            )
        parts = {kind: self.registry.part(kind, value) for kind, value in table.items() if kind != "title"}
        if "selector" not in parts:
            raise PrunebenchError(f"method {name!r} in suite {self.suite.name!r} needs a selector")
        return Method(name=name, title=title, **parts)  # type: ignore[arg-type]

    def check_names(self) -> None:
        """Raise PrunebenchError if a table of the suite has the name of a registered method or dataset."""
        tables = {"methods": self.suite.file.method, "datasets": self.suite.file.dataset}
        for kind, names in tables.items():
            for name in names:
                registered = self.registry.found[kind].get(name)
                # A class is a family of datasets. It has no rows of its own, so its name is free.
                taken = registered is not None and not isinstance(registered, type)
                if taken or name in TWINS:
                    table = f"[{kind.removesuffix('s')}.{name}]"
                    raise PrunebenchError(
                        f"{table} of {self.suite.path.name}: {name!r} is another of the {kind} already; "
                        f"choose another name. See: prunebench list {kind}"
                    )

    def check_grids(self) -> None:
        """Raise PrunebenchError if the suite has grids for an unknown scorer or selector."""
        known = {*self.registry.found["scorers"], *self.registry.found["selectors"]}
        for name in self.suite.file.grids:
            if name not in known:
                raise unknown(
                    f"scorer or selector in [grids] of {self.suite.path.name}", name, known, "docs/tuning.md"
                )

    def fixed(self, method: Method) -> set[tuple[str, str]]:
        """Return the (part, field) pairs that were set by hand, by --set or in a suite's own table."""
        pairs: set[tuple[str, str]] = set()
        written = self.method(method.name.partition("{")[0])  # without the changes of recipe and flags
        for top in (written.scorer, written.selector):
            for part in held(top) if top else ():
                defaults = at_defaults(part)
                pairs.update((part.name, entry.name) for entry in fields(part) if entry.name not in defaults)
        for path in self.filters.changes:
            owner, _, field = path.rpartition(".")
            pairs.add((owner, field))
        return pairs

    def resolved(
        self, method: Method, defaults: Mapping[str, Mapping[str, Any]], backbones: Backbones = NONE
    ) -> Method:
        """Return a method with its backbones, and with the values of recipe and flags in its parts.

        The name of the result holds the changes that concern it. See `concerning`.

        method: as registered or written in the suite.
        defaults: the fields that the recipe sets in parts, by part name.
        backbones: those that the recipe names.
        """
        parts = {kind: self.part(part, defaults) for kind, part in method.parts.items()}
        filled: Method = replace(method, **parts)  # type: ignore[arg-type]
        changes = self.concerning(filled, backbones)
        if not changes:
            return filled
        # Sorted, so that the order of the flags does not change the name.
        suffix = "{" + ",".join(f"{path}={value}" for path, value in sorted(changes.items())) + "}"
        return replace(filled, name=filled.name + suffix, title=filled.title + suffix)

    def part(self, part: Part, defaults: Mapping[str, Mapping[str, Any]]) -> Part:
        """Return a part with its backbones, and with the values of recipe and flags in all of them."""

        def visit(inner: Part) -> Part:
            return self._filled(inner, defaults)

        def visit_backbone(inner: Part) -> Part:
            return visit(inner) if isinstance(inner, Backbone) else inner

        # A recipe or flag may name a backbone. It is looked up next, and then gets its own values.
        with_names = map_parts(part, visit)
        return map_parts(self.registry.resolve_backbones(with_names), visit_backbone)

    def concerning(self, method: Method, backbones: Backbones) -> dict[str, Any]:
        """Return the changes that a method depends on: of its parts, of the recipe and its backbones."""
        owners = {"recipe"}
        for part in (*method.parts.values(), *backbones.used_by(method)):
            owners.update(inner.name for inner in held(part))
        return {path: value for path, value in self.filters.changes.items() if _owner(path) in owners}

    def _filled(self, part: Part, defaults: Mapping[str, Mapping[str, Any]]) -> Part:
        """Return a part with the recipe's values in its default fields, then with the user's changes."""
        open_fields = at_defaults(part)
        values = {name: value for name, value in defaults.get(part.name, {}).items() if name in open_fields}
        for path, value in self.filters.changes.items():
            if _owner(path) == part.name:
                values[path.rpartition(".")[2]] = value
        filled = change(part, values, part.name) if values else part
        return filled if "sampling" in values else self._drawing(filled)

    def _drawing(self, part: Part) -> Part:
        """Return a labeler that draws labels with the suite's draw, and any other part as it is."""
        if isinstance(part, Labeler) and 0 < part.label_fraction < 1 and part.sampling == "uniform":
            return replace(part, sampling=self.suite.file.label_draw)
        return part

    def backbones(self, recipe: Recipe, defaults: Mapping[str, Mapping[str, Any]]) -> Backbones:
        """Return the backbones that a recipe names.

        Raise PrunebenchError if that of final networks is not frozen. One that trains would give the test
        split other embeddings than the training split.
        """
        proxy = self._backbone(recipe.proxy_backbone, defaults)
        final = self._backbone(recipe.final_backbone, defaults)
        if final is not None and not final.frozen:
            raise PrunebenchError(
                f"recipe.final_backbone is {final.name!r}, which is not frozen: it learns from the images it "
                "embeds; name a pretrained one. See: prunebench list backbones"
            )
        return Backbones(proxy, final)

    def _backbone(self, name: str | None, defaults: Mapping[str, Mapping[str, Any]]) -> Backbone | None:
        if name is None:
            return None
        part = self._filled(self.registry.part("backbone", name), defaults)
        assert isinstance(part, Backbone)
        return part

    def recipe(self, dataset: Dataset) -> tuple[str, Recipe, dict[str, dict[str, Any]]]:
        """Return the name of a dataset's recipe, the recipe, and its fields of parts by part name."""
        name = self.filters.recipe or self.suite.file.recipe
        if not isinstance(name, str):
            name = by_lineage(name, dataset) or name.get("default", "")
        recipe, defaults = recipe_for(name, dataset)
        values = asdict(recipe)
        for path, value in self.filters.changes.items():
            if path.startswith("recipe."):
                values[path.removeprefix("recipe.")] = value
        return name, construct(Recipe, values, "recipe"), defaults


def _owner(path: str) -> str:
    return path.rpartition(".")[0]


def dataset_spec(suite: Suite, name: str, on_bad: str | None = None) -> str | dict[str, Any]:
    """Return the spec of a dataset for `Registry.dataset`: its name, or the suite's `[dataset.NAME]` table.

    A table has one of two forms. `folder = "photos"` and `side = 64` are a family that takes a path, and its
    fields. `of = "food101"` names another dataset, and the other keys are the fields that differ from it.

    Raise PrunebenchError if the table has neither form.

    suite: the suite.
    name: of the dataset.
    on_bad: reaction to images that cannot be read, as the dataset defines it. None: as the table says.
    """
    table = suite.file.dataset.get(name)
    spec: str | dict[str, Any] = name
    if table is not None:
        values = {"name": name, **table}
        family = next((key for key in table if key not in FIELDS), None)
        if family is None:
            raise PrunebenchError(
                f"[dataset.{name}] needs `folder = PATH` and `side = PIXELS`, or `of = NAME`"
            )
        spec = values if family == "of" else {"family": family, "path": values.pop(family), **values}
    return spec if on_bad is None else {"of": spec, "on_bad": on_bad}


def cells(suite: Suite, filters: Filters, registry: Registry) -> list[Cell]:
    """Return the cells of a suite that the user's filters choose, in the order of the suite's lists.

    Raise PrunebenchError for an unknown name, and for a value that no run could use.
    """
    resolver = Resolver(suite, filters, registry)
    file = suite.file
    seeds = filters.seeds if filters.seeds is not None else seed_list(file.seeds)
    rungs = [file.repeats] if isinstance(file.repeats, str) else file.repeats
    if filters.repeats:
        rungs = [filters.repeats]
    tuning = filters.tuning or file.tuning
    if tuning not in RULES:
        raise unknown("tuning rule", tuning, RULES, "docs/suites.md")
    for rung in rungs:
        if rung not in RUNGS:
            raise unknown("rung", rung, RUNGS, "docs/statistics.md")
    resolver.check_names()
    resolver.check_grids()
    chosen: list[Cell] = []
    for dataset_name in filters.datasets or file.datasets:
        dataset = resolver.dataset(dataset_name)
        recipe_name, recipe, defaults = resolver.recipe(dataset)
        recipe.seen(dataset.resolution)  # an impossible side is an error before anything runs
        backbones = resolver.backbones(recipe, defaults)
        shared: dict[str, Any] = {
            "suite": suite.name,
            "dataset": dataset,
            "recipe_name": recipe_name,
            "recipe": recipe,
            "tuning": tuning,
            "final_backbone": backbones.final,
            "exams": exams_of(file.exams, recipe),
        }
        for method in resolver.chosen(defaults, backbones):
            values = shared | _values_of(method, resolver, dataset, backbones, tuning)
            ratios = (filters.ratios or file.ratios) if method.ratio is None else [method.ratio]
            for ratio in ratios:
                method.selector.at(ratio)  # an impossible ratio is an error before anything runs
            # Seed by seed: the selections of one seed share more than those of one ratio.
            for rung, seed in product(rungs, seeds):
                chosen += [Cell(**values, repeats=rung, seed=seed, ratio=ratio) for ratio in ratios]
    _check_changes(filters, chosen)
    return list(dict.fromkeys(chosen))  # without cells that were named twice


def _values_of(
    method: Method, resolver: Resolver, dataset: Dataset, backbones: Backbones, tuning: str
) -> dict[str, Any]:
    """Return the fields of a cell that follow from its method."""
    tuned = method.matched_to or method  # its Random has the values of a method
    tried = searches(tuned, resolver.suite.file.grids, resolver.fixed(tuned))
    return {
        "method": method,
        "proxy_backbone": backbones.proxy if tuned.labeler else None,
        "searches": tried,
        "printed": _printed(tuned, dataset, tried) if tuning == "published" else (),
        "changes": resolver.concerning(tuned, backbones),
    }


def _printed(method: Method, dataset: Dataset, tried: Sequence[Search]) -> tuple[Printed, ...]:
    """Return the values that a paper printed for the searched fields of a method on a dataset."""
    name = method.name.partition("{")[0]
    entries = [printed(search, name, dataset.name) for search in tried]
    return tuple(entry for entry in entries if entry is not None)


def _twin(method: Method, registry: Registry, kind: str) -> Method:
    """Return the Random that stands beside a method. kind: one of TWINS.

    MATCHED keeps as many images as the method has annotated in all. The final network of TIMED trains on as
    many images as all trainings of the method.
    """
    like, matched_in = TWINS[kind]
    return Method(
        name=f"{kind}{{{method.name}}}",
        title=f"Random {like} {method.title}",
        selector=registry.part("selector", "random"),  # type: ignore[arg-type]
        reference=True,
        matched_to=method,
        matched_in=matched_in,
    )


def _plain(method: Method) -> bool:
    """Whether a method is Random itself, under whatever recipe."""
    return method.name.partition("{")[0] == "random"


def _check_changes(filters: Filters, chosen: list[Cell]) -> None:
    """Raise PrunebenchError for a --set that concerns no chosen cell."""
    used = {path for cell in chosen for path in cell.changes}
    for path in filters.changes:
        if path not in used:
            raise PrunebenchError(
                f"--set {path}: no chosen method has such a part. See: prunebench list methods"
            )


def parse_change(text: str) -> tuple[str, Any]:
    """Split `PART.field=value` into path and value. A value that is not TOML is a plain string.

    Raise PrunebenchError if the text has another form.
    """
    path, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.+-]+\.\w+", path):
        raise PrunebenchError(f"--set {text!r}: write it as PART.field=value or recipe.field=value")
    try:
        return path, parse_toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value
    except PrunebenchError as error:
        raise PrunebenchError(f"--set {path}: {error}") from None
