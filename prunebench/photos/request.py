"""What is asked of `prune`, and all that follows from it: the images, the cell, and its stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError, require, unknown
from prunebench.parts.base import PROXY, Backbone, Part
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import change, map_parts
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.parts.sampling import kept
from prunebench.photos.folder import check_count, check_outside, doubts, labels_of, listed, some, survey
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.runs import places
from prunebench.runs.places import Place, pick_device
from prunebench.suites.cells import Cell, Filters
from prunebench.suites.resolve import Resolver
from prunebench.suites.schema import Suite, SuiteFile


def check_on_bad(on_bad: str) -> None:
    """Raise PrunebenchError for no way to treat what cannot be read."""
    if on_bad not in ("fail", "skip"):
        raise unknown("way", on_bad, ["fail", "skip"], "--on-bad")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `prune`: a folder, the labels that are known, and how many labels it may cost in all.

    known: a .csv with the columns file and label. Either `budget`, the images to keep, those with a
    known label among them, or `ratio`, the percent to drop. backbone: instead of that of the method and
    the recipe. classes: how many there are, where the labels do not show all. side: pixels to which
    images are shrunk. changes: "PART.field" or "recipe.field" -> value.
    """

    folder: Path
    known: Path
    budget: int | None = None
    ratio: int | None = None
    method: str = "probe_aum"
    recipe: str = "quick"
    backbone: str | None = None
    classes: int | None = None
    side: int = 64
    seed: int = 0
    on_bad: str = "fail"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.ratio is None):
            raise PrunebenchError("say how much to keep: either --budget LABELS or --ratio PERCENT")
        if self.ratio is not None:
            require(0 <= self.ratio <= 99, "--ratio", self.ratio, "the percent to drop, 0 to 99")
        require(self.seed >= 0, "--seed", self.seed, "0 or more")
        require(self.side > 0, "--side", self.side, "above 0 pixels")
        check_on_bad(self.on_bad)

    @property
    def spec(self) -> dict[str, Any]:
        """What the registry makes the dataset from."""
        return {
            "family": "photos",
            "name": "photos",
            "path": str(self.folder.expanduser().resolve()),
            "known": str(self.known.expanduser().resolve()),
            "side": self.side,
            "on_bad": self.on_bad,
            "count": self.classes,
        }

    def keep(self, images: int) -> int:
        """Return how many of the images to keep."""
        if self.budget is None:
            return kept(images, self.ratio or 0)
        check_count("--budget", self.budget, images)
        return self.budget


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where it is made: the store of artefacts, the folder of decoded images, the device."""

    store: Store
    data: Path
    device: str

    @classmethod
    def at(cls, store: Place = None, data: Place = None, device: str = "auto") -> Workplace:
        """Return these places, or those of the environment and the user's cache."""
        return cls(
            store=Store(places.folder("store", store)),
            data=places.folder("data", data),
            device=pick_device(device),
        )

    def check_outside(self, folder: Path) -> None:
        """Raise PrunebenchError where the store or the data lie in a folder of photos."""
        for option, where in (("--store", self.store.root), ("--data", self.data)):
            check_outside(folder, where, option)

    def matrix(self, cells: Sequence[Cell], specs: Mapping[str, Any]) -> Matrix:
        """Return the matrix of some cells here; specs: what each dataset is made from, by name."""
        return Matrix(list(cells), self.store, self.data, self.device, datasets=specs)


def construct_request(**values: Any) -> Request:
    """Return a request, its places given as text or as paths; raise PrunebenchError for an unknown field."""
    fields = Request.__dataclass_fields__
    if wrong := [name for name in values if name not in fields]:
        raise unknown("option of prune", wrong[0], fields, "docs/photos.md")
    return Request(**{**values, "folder": Path(values["folder"]), "known": Path(values["known"])})


class Work:
    """A request with all that follows from it: the images, the cell, and its stages."""

    def __init__(self, request: Request, place: Workplace, look: bool) -> None:
        self.request, self.place = request, place
        place.check_outside(request.folder)
        self.survey = survey(request.folder)
        names = listed(self.survey, request.folder, request.on_bad)
        labels_of(request.known, names, request.folder)
        self.dataset: Dataset = load().dataset(request.spec)
        self.dataset.classes  # noqa: B018 - too few, or more than were said to be, is an error before all else
        self.root = dataset_key(self.dataset, place.data, place.store, look=look)
        self.names = self.dataset.names(place.data) if self.read else tuple(names)
        # Reading the images takes its time; what is said of the labels is what they are after that, once.
        self.classes = self.dataset.classes
        known = labels_of(request.known, names, request.folder)
        there = set(self.names)
        self.left_out = len({*names} - there) + len(self.survey.nameless)
        self.known = {name: label for name, label in known.items() if name in there}

    @property
    def read(self) -> bool:
        """Whether the images were read and their content is known."""
        return not self.root.startswith("absent:")

    @property
    def keep(self) -> int:
        """How many images are kept."""
        return self.request.keep(len(self.names))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may be amiss, a line each, and what was assumed."""
        sizes = Counter(self.known.values())
        told = [self.survey.remark, *doubts(self.known.values())]
        if single := [name for name in self.classes if sizes[name] == 1]:
            told.append(f"{len(single)} class(es) with a single label: {some(single)}")
        if unseen := [name for name in self.classes if not sizes[name]]:
            told.append(f"{len(unseen)} class(es) without a label, which nothing can recognise")
        return tuple(filter(None, told))

    @cached_property
    def cell(self) -> Cell:
        """The one cell."""
        return _cell(self.request, self.dataset, len(self.names), len(self.known))

    @cached_property
    def matrix(self) -> Matrix:
        """The matrix of the one cell."""
        return self.place.matrix([self.cell], {"photos": self.request.spec})

    @cached_property
    def ends(self) -> dict[str, Stage]:
        """The stages that say what became of each image, by kind."""
        subset = Graph([self.cell], {self.dataset.name: self.root}).subset(self.cell)
        read = ("labels", "scores", "subset")
        return {stage.kind: stage for stage in subset.ancestors() if stage.kind in read}

    def check(self, needed: Mapping[str, Stage]) -> None:
        """Raise PrunebenchError where the device or a file will not do."""
        self.matrix.check_device()
        try:
            self.matrix.check_parts(needed)
        except PrunebenchError as error:
            raise PrunebenchError(f"{error}; or choose another with --backbone, such as pixels") from None


def _cell(request: Request, dataset: Dataset, images: int, paid: int) -> Cell:
    """Return the one cell of a request, its method keeping what was paid."""
    keep = request.keep(images)
    if paid >= keep:
        raise PrunebenchError(
            f"{paid} labels are paid for and these images are kept, so of {keep} to keep none is left to "
            "choose; raise --budget or lower --ratio"
        )
    file = SuiteFile(title="photos", datasets=[], methods=[request.method], recipe=request.recipe)
    resolver = Resolver(Suite("photos", file, Path()), Filters(changes=request.changes), load())
    name, recipe, defaults = resolver.recipe(dataset)
    if request.backbone and recipe.proxy_backbone:
        recipe = replace(recipe, proxy_backbone=request.backbone)
    method = including_paid(resolver.method(request.method), paid / images, request.backbone)
    method = resolver.resolved(method, defaults)
    for path in request.changes:
        if f"{path}=" not in method.name:
            raise PrunebenchError(f"--set {path}: {request.method} has no such part")
    return Cell(
        suite="photos",
        dataset=dataset,
        method=method,
        # As it were the ratio of the exact number: it fills in fields of parts that follow the ratio.
        ratio=100 * (images - keep) // images if request.ratio is None else request.ratio,
        seed=request.seed,
        recipe_name=name,
        recipe=recipe,
        repeats="pipeline",
        tuning="default",
        proxy=resolver.proxy(recipe, defaults),
        keep=keep,
    )


def including_paid(method: Method, share: float, backbone: str | None = None) -> Method:
    """Return a method as it is when `share` of the labels were bought elsewhere, and are all kept.

    backbone: a name that replaces those in the method. Raise PrunebenchError for a method that buys all
    labels, or is there to be compared with.
    """
    if method.annotation == 1 or method.reference:
        why = "buys the labels of all images" if method.annotation == 1 else "is a reference for tables"
        raise PrunebenchError(f"method {method.name!r} {why}; choose one that needs few labels or none")

    def moved(part: Part) -> Part:
        own = None if isinstance(part, Backbone) else getattr(part, "backbone", None)
        return part if own in (None, PROXY) else replace(part, backbone=backbone)  # type: ignore[call-arg]

    labeler = method.labeler or load().part("labeler", "none")
    try:
        labeler = change(
            labeler, {"annotation": share, "sampling": "given"}, f"method {method.name}: labeler"
        )
    except PrunebenchError:
        raise PrunebenchError(
            f"method {method.name!r} has no use for labels that are known: its labeler {labeler.name} reads "
            "none; choose one that learns from a few, such as probe_aum, or one without a labeler"
        ) from None
    kept = method.selector.name == "include"
    selector = (
        method.selector if kept else load().part("selector", {"part": "include", "selector": method.selector})
    )
    parts = {"labeler": labeler, "scorer": method.scorer, "selector": selector}
    if backbone is not None:
        parts = {kind: part and map_parts(part, moved) for kind, part in parts.items()}
    title = method.title if kept else f"{method.title}, paid kept"
    return Method(method.name, title=title, **parts)  # type: ignore[arg-type]
