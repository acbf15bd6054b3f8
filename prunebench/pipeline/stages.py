"""The stages of a cell: what each needs, and its key. Nothing is computed here.

dataset --+--> known (label draw) --+
          +--> embeddings ----------+---------------------------+
          |                         v                           v
          +----------------------> labels --> dynamics --> scores --> subset --> accuracy
                                     +------> quality

Where a suite tunes, a field of a scorer or selector takes its value from a choice:

labels, dynamics, scores --> candidate --> validation --+--> choice --> scores, subset
                         (a subset with one of the values)

Stages are shared wherever their keys are equal: between methods, ratios, seeds and suites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from prunebench.parts import seeds
from prunebench.parts.base import PROXY, Labeler, Part, reader
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import at_defaults, identity, placeless
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.parts.sampling import READ_ALL
from prunebench.pipeline import store
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import HELD_OUT, Search, settled
from prunebench.system import sealed_json

T = TypeVar("T")
NONE: Mapping[str, Any] = MappingProxyType({})

# Bump a stage's version when what it stores changes for the same identity and inputs.
VERSIONS = {
    "known": 1,
    "embeddings": 1,
    "labels": 1,
    "quality": 1,
    "dynamics": 2,
    "scores": 1,
    "candidate": 1,
    "validation": 1,
    "choice": 1,
    "subset": 1,
    "accuracy": 1,
}


def _spell(value: Any) -> str:
    return sealed_json.canonical(placeless(value))


def _object(fields: Mapping[str, str]) -> str:
    """Return the canonical spelling of an object from those of its values."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in sorted(fields.items())) + "}"


@dataclass(frozen=True, eq=False)
class Stage:
    """One computation. identity is JSON; inputs are the stages it reads; root is the dataset's key.

    title: what it runs, such as dual(window=10), for plans and messages. spell: how a value of the identity
    is spelled in the key; a `Graph` spells once what its stages share.
    """

    kind: str
    identity: dict[str, Any]
    inputs: dict[str, Stage]
    root: str
    dataset: Dataset
    title: str
    spell: Callable[[Any], str] = _spell

    @cached_property
    def key(self) -> str:
        """The key of what this stage makes: `store.key` of its identity without the places of files."""
        what = {name: self.spell(value) for name, value in self.identity.items()}
        inputs = {name: f'"{stage.key}"' for name, stage in self.inputs.items()}
        inputs |= {"dataset": self.spell(self.root), "torch": self.spell(torch_major())}
        return store.key_of(self.kind, VERSIONS[self.kind], _object(what), _object(inputs))

    @property
    def ratio(self) -> int | None:
        """The ratio at which this stage selects, or trains on what was selected; None further up."""
        own: int | None = self.identity.get("ratio")
        trained_on = {"accuracy": "subset", "validation": "candidate"}.get(self.kind)
        return self.inputs[trained_on].ratio if trained_on else own

    def ancestors(self, *, searching: bool = True) -> Iterator[Stage]:
        """Yield this stage and all it depends on, inputs first, each once; `searching`: choices included."""
        yield from closure([self], searching=searching)


def closure(ends: Iterable[Stage], *, searching: bool = True) -> Iterator[Stage]:
    """Yield some stages and all they depend on, inputs first, each once; `searching`: choices included."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        seen.add(stage.key)
        for name, upstream in stage.inputs.items():
            if upstream.key not in seen and (searching or not name.startswith("choice/")):
                yield from visit(upstream)
        yield stage

    for end in ends:
        if end.key not in seen:
            yield from visit(end)


@dataclass(frozen=True)
class Job:
    """One stage to make, as JSON carries it between processes."""

    kind: str
    key: str
    title: str
    identity: dict[str, Any]
    inputs: dict[str, str]
    dataset: Any
    data: str
    store: str
    device: str
    root: str


def _spelled(part: Part, tuned: Mapping[str, str] = NONE) -> str:
    """Spell a part with the fields that are not at their default; `tuned` has words for some values."""

    def plain(value: Any) -> str:
        if isinstance(value, tuple) and any(isinstance(inner, Part | Path) for inner in value):
            return " + ".join(map(plain, value))
        return _spelled(value, tuned) if isinstance(value, Part) else str(value)

    shown_fields = {entry.name for entry in fields(part)} - (at_defaults(part) - set(tuned))
    own = {e.name: tuned.get(e.name) or getattr(part, e.name) for e in fields(part) if e.name in shown_fields}
    shown = ", ".join(f"{name}={plain(value)}" for name, value in own.items())
    return f"{part.name}({shown})" if shown else part.name


def _needs(part: Part) -> set[str]:
    return {*part.needs(), *(["labels"] if getattr(part, "per_class", False) else [])}


def _once(function: Callable[..., T]) -> Callable[..., T]:
    """Return `function` that remembers what it returned, by which objects it was given.

    Not by their values: equal parts may be spelled unlike, as Dual(exponent=1) and Dual(exponent=1.0) are.
    """
    made: dict[tuple[int, ...], tuple[tuple[Any, ...], T]] = {}

    def remembered(*given: Any) -> T:
        which = tuple(map(id, given))
        if which not in made:
            made[which] = given, function(*given)  # what was given is kept, so that nothing else has its id
        return made[which][1]

    return remembered


class Graph:
    """The stages of many cells, each stage once.

    Thousands of cells share parts, recipes and all that comes before the selection: these are spelled once.
    """

    def __init__(self, cells: Iterable[Cell], roots: dict[str, str]) -> None:
        """Build the stages; roots maps dataset names to their keys (see `dataset_key`)."""
        self.roots = roots
        self._built: dict[str, Stage] = {}
        self._chosen: dict[tuple[Cell, str], Stage] = {}
        self._shared: dict[tuple[object, ...], tuple[Cell, Any]] = {}
        self._spell, self._identity, self._title = _once(_spell), _once(identity), _once(_spelled)
        self._needs, self._recipe = _once(_needs), _once(Recipe.identity)
        self._proxy, self._final = _once(Recipe.proxy), _once(Recipe.final)
        self.targets = {cell: self._accuracy(cell) for cell in cells}
        self.qualities = {cell: self._quality(cell) for cell in self.targets}
        self.draws = {cell: self._draw(cell) for cell in self.targets}
        ends = (end for cell in self.targets for end in self.ends(cell))
        self.stages = {stage.key: stage for stage in closure(ends)}

    def ends(self, cell: Cell) -> list[Stage]:
        """Return the stages that a row is made from: accuracy, quality of guessed labels, draw of labels."""
        ends = (self.targets[cell], self.qualities[cell], self.draws[cell])
        return [stage for stage in ends if stage is not None]

    def lineage(self, cell: Cell) -> list[Stage]:
        """Return all stages of a cell, each once, inputs first: its row tells what each of them cost."""
        return list(closure(self.ends(cell)))

    def _stage(
        self, cell: Cell, kind: str, what: dict[str, Any], inputs: dict[str, Stage], title: str = ""
    ) -> Stage:
        root = self.roots[cell.dataset.name]
        stage = Stage(kind, what, inputs, root, cell.dataset, title or kind, self._spell)
        return self._built.setdefault(stage.key, stage)

    def _alike(self, cell: Cell, make: Callable[[], T], *place: object) -> T:
        """Return what all cells share that have method, recipe, dataset and `place` in common."""
        which = (id(cell.method), id(cell.recipe), id(cell.printed), cell.dataset.name, *place)
        if which not in self._shared:
            self._shared[which] = cell, make()  # the cell is kept, so that nothing else has these ids
        return self._shared[which][1]  # type: ignore[no-any-return]

    def _part(self, cell: Cell, kind: str, part: Part, available: dict[str, Stage], **extra: Any) -> Stage:
        """Build the stage of a part: its inputs are the artefacts it names, its seed if it asks for rng."""
        needs = self._needs(part)
        inputs = {name: stage for name, stage in available.items() if name in needs}
        if "embeddings" in needs:
            inputs |= self._embeddings(cell, part, available)
        what = {"part": self._identity(part), **extra}
        for search in cell.searched:
            choice = f"choice/{search.grid.field}"
            if choice in available and search.concerns(part):
                inputs[choice] = available[choice]
                what.setdefault("tuned", {})[search.grid.field] = list(search.parts)
        if "recipe" in needs:
            what["recipe"] = self._recipe(self._proxy(cell.recipe))
        if "side" in needs:
            what |= _side(cell)
        if "rng" in needs:
            what["seed"] = _seed(kind, cell.seed if kind == "subset" else _upstream(cell))
        tuned = dict.fromkeys(what.get("tuned", ()), "chosen")
        return self._stage(cell, kind, what, inputs, _spelled(part, tuned) if tuned else self._title(part))

    def _embeddings(self, cell: Cell, part: Part, available: dict[str, Stage]) -> dict[str, Stage]:
        """Build one embeddings stage per backbone of a part, in order: embeddings/0, embeddings/1, ..."""
        given = reader(part).backbone  # type: ignore[attr-defined]
        found = {}
        for place, backbone in enumerate(given if isinstance(given, tuple) else (given,)):
            if backbone == PROXY:
                recipe = {"recipe": self._recipe(self._proxy(cell.recipe))}
                dynamics = {"dynamics": available["dynamics"], **self._proxy_sees(cell)}
                found[f"embeddings/{place}"] = self._stage(
                    cell, "embeddings", recipe, dynamics, "the proxy network"
                )
            else:
                found[f"embeddings/{place}"] = self._part(cell, "embeddings", backbone, {})
        return found

    def _proxy_sees(self, cell: Cell) -> dict[str, Stage]:
        """Build the embeddings that the proxy network trains on; none where it trains on images."""
        return {"embeddings/0": self._part(cell, "embeddings", cell.proxy, {})} if cell.proxy else {}

    def known(self, cell: Cell, labeler: Labeler) -> Stage:
        """Build the draw of the labels that a labeler buys; all or none of them needs no seed.

        Those that were bought elsewhere are not drawn: the labeler is asked which they are.
        """
        what: dict[str, Any] = {"annotation": labeler.annotation, "sampling": labeler.sampling}
        if 0 < labeler.annotation < 1 and labeler.sampling == "given":
            what["part"] = identity(labeler)
        elif 0 < labeler.annotation < 1:
            what["seed"] = _seed("known", _upstream(cell))
        title = f"{labeler.annotation:.0%} of the labels, {labeler.sampling}"
        if "seed" in what and labeler.sampling in READ_ALL:
            title += ", which reads every label"
        return self._stage(cell, "known", what, {}, title)

    def _upstream_stages(self, cell: Cell, choices: Mapping[str, Stage] = NONE) -> dict[str, Stage]:
        """Build known, labels, dynamics and scores, as far as the method has them, tuned by `choices`."""
        tuned = ((name, choice.key) for name, choice in choices.items())
        return self._alike(
            cell, lambda: self._new_upstream(cell, choices), cell.tuning, _upstream(cell), *tuned
        )

    def _new_upstream(self, cell: Cell, choices: Mapping[str, Stage]) -> dict[str, Stage]:
        method, found = cell.method, dict(choices)
        if method.labeler is not None:
            found["known"] = self.known(cell, method.labeler)
            found["labels"] = self._part(cell, "labels", method.labeler, found)
            recipe = self._proxy(cell.recipe)
            what = {"recipe": self._recipe(recipe), "seed": _seed("dynamics", _upstream(cell))}
            inputs = {"labels": found["labels"], **self._proxy_sees(cell)}
            title = f"mlp on {cell.proxy.name}, {_length(recipe)}" if cell.proxy else _training(recipe)
            found["dynamics"] = self._stage(cell, "dynamics", what, inputs, title)
        if method.scorer is not None:
            found["scores"] = self._part(cell, "scores", method.scorer, found)
        return found

    def subset(self, cell: Cell) -> Stage:
        """Build the selection of a cell."""
        if cell.method.beside is not None:
            return self._matched(cell)
        available = self._upstream_stages(cell, self.choices(cell))
        size = {"ratio": cell.ratio} if cell.keep is None else {"keep": cell.keep}
        return self._part(cell, "subset", self._selector(cell), available, **size)

    def _selector(self, cell: Cell) -> Part:
        return self._alike(cell, lambda: cell.selector, cell.ratio)

    def choices(self, cell: Cell) -> dict[str, Stage]:
        """Build what chooses the tuned fields of a cell, by "choice/FIELD": on repeat 0, in turn."""
        found: dict[str, Stage] = {}
        for search in cell.searched:
            grid = search.grid
            place = replace(cell, seed=0, ratio=cell.ratio if grid.each else grid.ratios[0]), grid.field
            if place not in self._chosen:
                self._chosen[place] = self._choice(place[0], search, dict(found))
            found[f"choice/{grid.field}"] = self._chosen[place]
        return found

    def _choice(self, cell: Cell, search: Search, before: Mapping[str, Stage]) -> Stage:
        """Build the choice of one field, with the fields `before` it as they were chosen."""
        grid = search.grid
        ratios = (cell.ratio,) if grid.each else grid.ratios
        inputs = {
            f"{value}/{ratio}": self._validation(_trial(cell, search, value, ratio), before, grid.field)
            for value in search.values(cell.recipe, min(ratios))
            for ratio in ratios
        }
        return self._stage(cell, "choice", {"field": grid.field}, inputs, grid.field)

    def _validation(self, trial: Cell, before: Mapping[str, Stage], field: str) -> Stage:
        """Build the training on a candidate subset, and its test: on held-out images or on the test split."""
        available = self._upstream_stages(trial, before)
        labels = {"labels": available["labels"]}
        on: dict[str, Any] = {"held_out": 0.0}
        if trial.tuning == "search":
            on = {"held_out": HELD_OUT, "split": _seed("split", 0)}
        part = self._part(trial, "candidate", trial.selector, available, ratio=trial.ratio, **on)
        # The held-out images are drawn by label, whether or not the selector looks at labels.
        title = _spelled(trial.selector, {field: "tried"})
        candidate = self._stage(trial, "candidate", part.identity, {**part.inputs, **labels}, title)
        recipe = trial.recipe.final()
        what = {"recipe": recipe.identity(), "seed": _seed("validation", 0), **on}
        title = f"{_training(recipe)}, trying {field}"
        return self._stage(trial, "validation", what, {"candidate": candidate, **labels}, title)

    def _matched(self, cell: Cell) -> Stage:
        """Build the selection of as many images as another method bought labels in all."""
        beside = cell.method.beside
        assert beside is not None and beside.labeler is not None
        other = Cell(**{**_values(cell), "method": beside})
        selector = self._selector(cell)
        what = {"part": self._identity(selector), "seed": _seed("subset", cell.seed)}
        inputs = {"beside": self.subset(other), "known": self.known(other, beside.labeler)}
        return self._stage(cell, "subset", what, inputs, self._title(selector))

    def _accuracy(self, cell: Cell) -> Stage:
        inputs, final = {"subset": self.subset(cell)}, cell.method.final
        recipe = self._final(cell.recipe)
        what = {"recipe": self._recipe(recipe), "seed": _seed("accuracy", cell.seed)}
        if final != "truth":
            inputs["labels"] = self._upstream_stages(cell)["labels"]
        if final == "labeler":
            return self._stage(cell, "accuracy", _side(cell), inputs, "the labeler's own network")
        return self._stage(cell, "accuracy", what, inputs, _training(recipe))

    def _draw(self, cell: Cell) -> Stage | None:
        """Build the draw of the labels that a cell counts as bought; None where it is all or none of them."""
        labeler = (cell.method.beside or cell.method).labeler
        drawn = labeler is not None and cell.method.annotation not in (0, 1)
        return self.known(cell, labeler) if labeler and drawn else None

    def _quality(self, cell: Cell) -> Stage | None:
        labeler = cell.method.labeler
        if labeler is None or not labeler.guesses:
            return None
        return self._stage(cell, "quality", {}, {"labels": self._upstream_stages(cell)["labels"]})


def _trial(cell: Cell, search: Search, value: float, ratio: int) -> Cell:
    """Return a cell whose method has the field of a search at one of its values."""
    field, names, method = search.grid.field, search.parts, cell.method
    scorer = method.scorer and settled(method.scorer, field, names, value)
    selector = load().part("selector", "top") if search.grid.top else method.selector
    tried = replace(method, scorer=scorer, selector=settled(selector, field, names, value))  # type: ignore[arg-type]
    return replace(cell, ratio=ratio, method=tried)


def _side(cell: Cell) -> dict[str, Any]:
    """Return what networks see of images, where it is not all: older keys stand."""
    return {} if cell.recipe.side is None else {"side": cell.recipe.side}


def _training(recipe: Recipe) -> str:
    return f"{recipe.network}, {_length(recipe)}"


def _length(recipe: Recipe) -> str:
    return f"{recipe.iterations} steps" if recipe.iterations else f"{recipe.epochs} epochs"


def _values(cell: Cell) -> dict[str, Any]:
    return {entry.name: getattr(cell, entry.name) for entry in fields(cell)}


def _upstream(cell: Cell) -> int:
    """Return the repeat of everything before the selection: the seed's own, or 0 where that is shared."""
    return cell.seed if cell.repeats == "pipeline" else 0


@cache
def torch_major() -> str:
    """Return the major version of torch: the next one need not repeat its results."""
    return metadata.version("torch").partition(".")[0]


@cache  # so that a graph spells it once
def _seed(stream: str, repeat: int) -> list[Any]:
    return [seeds.ROOT_SEED, stream, repeat]
