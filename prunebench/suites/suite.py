"""A suite file plus the user's filters -> an ordered list of cells, every value resolved."""

from __future__ import annotations

import hashlib
import re
import reprlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from prunebench.errors import PrunebenchError, unknown
from prunebench.paper.published import cutoffs
from prunebench.parts.base import Backbone, Dataset, Labeler, Method, Part, Recipe, Selector
from prunebench.parts.identity import at_defaults, change, construct, identity, map_parts, placeless
from prunebench.parts.registry import NAME, Registry
from prunebench.pipeline.store import canonical
from prunebench.suites.resources import parse_toml, read_toml, shipped
from prunebench.suites.tuning import RULES, SEARCHED, Search, held, searches, settled
from prunebench.system.files import home

if TYPE_CHECKING:
    from prunebench.results.rows import Record

T = TypeVar("T")
PROTOCOL = 1  # bump when rows made before and after may no longer share a table
SEEDS = 10_000  # a seed is below: more are a slip of the pen
MATCHED = "random_matched"
FIELDS = ("name", "side", "on_bad", "cache")  # of a [dataset.NAME] table, beside a family and its path
MISREAD = "as_printed_probably_from_the_easy_end"  # SUN397; the other reading of the same cutoff counts
METHOD_KEYS = ("title", "labeler", "scorer", "selector")


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


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What the command line says about which cells to run; None leaves the suite's own list."""

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    ratios: Sequence[int] | None = None
    seeds: Sequence[int] | None = None
    recipe: str | None = None
    tuning: str | None = None
    on_bad: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)  # "PART.field" or "recipe.field" -> value


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (method, dataset, ratio, seed) with everything that decides its result."""

    suite: str
    dataset: Dataset
    method: Method
    ratio: int
    seed: int
    recipe_name: str
    recipe: Recipe
    repeats: str
    tuning: str
    proxy: Backbone | None = None  # the recipe's proxy_backbone, made
    searches: tuple[Search, ...] = ()  # what the tuning rule searches for this method, in order
    printed: tuple[tuple[int, float], ...] = ()  # the cutoffs that a paper printed, by ratio
    keep: int | None = None  # how many images exactly, where that is no ratio
    changes: Mapping[str, Any] = field(default_factory=dict, compare=False)  # of --set, that its name tells

    def __hash__(self) -> int:
        """Hash the names alone: cells are looked up often, and hold much that would be hashed each time."""
        return hash((self.method.name, self.dataset.name, self.ratio, self.seed))

    @property
    def name(self) -> str:
        """How messages name this cell."""
        return f"{self.method.name} {self.dataset.name} {self.ratio}% seed {self.seed}"

    @property
    def selector(self) -> Selector:
        """The method's selector with the fields that depend on the ratio filled in."""
        selector = self.method.selector
        if self.cutoff is not None:
            names = next(search.parts for search in self.searches if search.grid.field == "cutoff")
            selector = settled(selector, "cutoff", names, self.cutoff)  # type: ignore[assignment]
        return selector.at(self.ratio)

    @property
    def cutoff(self) -> float | None:
        """The cutoff that a paper printed for this cell, where it is to be taken."""
        return None if self.method.beside else dict(self.printed).get(self.ratio)

    @property
    def searched(self) -> tuple[Search, ...]:
        """What is searched for this cell: nothing unless the rule is one that searches.

        Nor for a Random beside another method, whose own cells are searched.
        """
        return self.searches if self.tuning in SEARCHED and self.method.beside is None else ()

    @property
    def method_key(self) -> str:
        """Hash of what a row's method means, whatever the ratio: parts, recipe, tuning, repeats."""
        beside, tried = self.method.beside, [search.identity() for search in self.searches]
        meaning = {
            "parts": {kind: identity(part) for kind, part in self.method.parts.items()},
            "beside": beside and {kind: identity(part) for kind, part in beside.parts.items()},
            "recipe": self.recipe.identity(),
            **({"proxy": identity(self.proxy)} if self.proxy else {}),
            "tuning": self.tuning,
            **({"searches": tried} if tried and self.tuning in SEARCHED else {}),
            **({"printed": [list(pair) for pair in self.printed]} if self.printed else {}),
            "repeats": self.repeats,
            "protocol": PROTOCOL,
        } | ({} if self.method.final == "truth" else {"final": self.method.final})
        return hashlib.sha256(canonical(placeless(meaning)).encode()).hexdigest()[:16]


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


@cache
def recipe_table() -> dict[str, dict[str, dict[str, Any]]]:
    """Return benchmarks/recipes.toml: recipe name -> dataset -> fields and part tables."""
    return read_toml(shipped() / "recipes.toml")["recipe"]  # type: ignore[no-any-return]


def recipe_for(name: str, dataset: Dataset) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """Return the recipe `name` for a dataset, and the fields it gives to parts, by part name."""
    table = recipe_table()
    listed = table.get(name, {})
    if name not in table and name not in dataset.recipes:
        raise unknown("recipe", name, {*table, *dataset.recipes}, "benchmarks/recipes.toml")
    entry = _by_lineage(listed, dataset) or dataset.recipes.get(name)
    if entry is None:
        having = [other for other in table if _by_lineage(table[other], dataset)] + list(dataset.recipes)
        raise PrunebenchError(
            f"recipe {name!r} has no entry for dataset {dataset.name!r}. "
            f"Recipes that have: {', '.join(sorted(having)) or 'none; see docs/suites.md'}"
        )
    own = {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
    parts = {key: dict(value) for key, value in entry.items() if isinstance(value, Mapping)}
    return construct(Recipe, own, f"recipe {name} for {dataset.name}"), parts


def _by_lineage(table: Mapping[str, T], dataset: Dataset) -> T | None:
    """Return the entry of a dataset: its own, or else that of the nearest one it derives from."""
    return next((table[name] for name in dataset.lineage if name in table), None)


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
        name = given if isinstance(given, str) else _by_lineage(given, dataset) or given.get("default", "")
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


def _printed(method: Method, dataset: Dataset, tried: Sequence[Search]) -> tuple[tuple[int, float], ...]:
    """Return the cutoffs that the paper printed for a method on a dataset; none where none is open."""
    if not any(search.grid.field == "cutoff" for search in tried):
        return ()
    about = (method.name.partition("{")[0], dataset.name)
    found = (line for line in cutoffs() if (line.method, line.dataset) == about and line.reading != MISREAD)
    return tuple((line.ratio, line.cutoff) for line in found)


def seed_list(seeds: int | list[int]) -> list[int]:
    """Return the seeds that a suite's count or list stands for."""
    return list(range(seeds)) if isinstance(seeds, int) else seeds


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


def current_keys(
    rows: Iterable[Record], suite: Suite, registry: Registry
) -> dict[tuple[str, str, str, str], str | None]:
    """Return the method_key that follows from a suite today, by (method, dataset, recipe, tuning) of rows.

    A method that cannot be made any more has the key "gone", so that its rows show as stale.
    """
    found: dict[tuple[str, str, str, str], str | None] = {}
    for row in rows:
        place = (row.method, row.dataset, row.recipe, row.tuning)
        if place in found or row.dataset not in {*registry.found["datasets"], *suite.file.dataset}:
            continue  # a folder of the user's: its recipe cannot be told from here
        base = row.method.partition("{")[0] if row.changes else row.method
        wanted = [(row.beside or "").partition("{")[0], MATCHED] if row.beside else [base]
        filters = Filters(
            methods=wanted,
            datasets=[row.dataset],
            ratios=[row.ratio],
            seeds=[0],
            recipe=row.recipe,
            tuning=row.tuning,
            changes=row.changes,
        )
        try:
            made = {cell.method.name: cell.method_key for cell in cells(suite, filters, registry)}
            found[place] = made.get(row.method, "gone")
        except PrunebenchError:
            found[place] = "gone"
    return found


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
