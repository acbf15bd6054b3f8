"""The request to `prune` and the work that follows from it: the images, the cell, and its stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, require, unknown, whole
from prunebench.parts.artefacts import Array, Groups
from prunebench.parts.base import PROXY, Backbone, Part
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import change, map_parts
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.parts.sampling import kept
from prunebench.photos.folder import (
    check_count,
    check_outside,
    common_side,
    doubts,
    labels_of,
    listed,
    some,
    survey,
    together,
)
from prunebench.photos.groups import counting, groups_of, joined, read_groups, stand_ins, write_groups
from prunebench.photos.scores import own_scores, read_scores
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.duplicates import Duplicates
from prunebench.pipeline.store import Store
from prunebench.runs import places
from prunebench.runs.places import Place, pick_device
from prunebench.suites.cells import Cell, Filters
from prunebench.suites.resolve import Resolver
from prunebench.suites.schema import Suite, SuiteFile

Known = str | Path | Sequence[str | Path]  # a file of labels, or several, such as one for each round
POOL = "photo_pool"  # the family of the images of a folder without their labels
LABELER = "probe"  # of methods without a labeler of their own


def check_on_bad(on_bad: str) -> None:
    """Raise PrunebenchError unless `on_bad` is "fail" or "skip"."""
    if on_bad not in ("fail", "skip"):
        raise unknown("way", on_bad, ["fail", "skip"], "--on-bad")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to `prune`: a folder, its known labels, and a label budget.

    folder: the folder of photos.
    known: a .csv with the columns file and label.
    budget: images to keep, including those with a known label. Give either `budget` or `ratio`.
    ratio: percent of the images to drop, 0 to 99.
    method: name of the method.
    scores: a .csv or .parquet with the columns file and score, of which the highest are chosen. It stands in
        the place of a method.
    recipe: name of the recipe.
    backbone: name of a backbone that replaces those of the method and the recipe.
    classes: number of classes, if the known labels do not show all of them.
    side: pixels to which the images are shrunk, above 0. None: as `folder.common_side` says.
    seed: 0 or more.
    on_bad: "fail" or "skip", for images that cannot be read.
    duplicates: "keep-one" chooses at most one of duplicates, "ignore" looks for none.
    groups: a .csv with the columns file and group. At most one image of a group is chosen.
    changes: "PART.field" or "recipe.field" -> value.

    Raise PrunebenchError for values outside these ranges.
    """

    folder: Path
    known: Path
    budget: int | None = None
    ratio: int | None = None
    method: str = "random"
    scores: Path | None = None
    recipe: str = "quick"
    backbone: str | None = None
    classes: int | None = None
    side: int | None = None
    seed: int = 0
    on_bad: str = "fail"
    duplicates: str = "keep-one"
    groups: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.ratio is None):
            raise PrunebenchError("say how much to keep: either --budget LABELS or --ratio PERCENT")
        for name in ("budget", "ratio", "classes", "side", "seed"):
            if getattr(self, name) is not None:
                whole(f"--{name}", getattr(self, name))
        if self.ratio is not None:
            require(0 <= self.ratio <= 99, "--ratio", self.ratio, "the percent to drop, 0 to 99")
        require(self.seed >= 0, "--seed", self.seed, "0 or more")
        require(self.side is None or self.side > 0, "--side", self.side, "above 0 pixels")
        check_on_bad(self.on_bad)
        if self.scores is not None and self.method != "random":
            raise PrunebenchError(
                f"--scores chooses in the place of --method {self.method}; give one of them"
            )
        if self.duplicates not in ("keep-one", "ignore"):
            raise unknown("way", self.duplicates, ["keep-one", "ignore"], "--duplicates")

    @property
    def spec(self) -> dict[str, Any]:
        """The specification from which the registry makes the dataset."""
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
        """Return how many of the images to keep. Raise PrunebenchError if the budget exceeds `images`."""
        if self.budget is None:
            return kept(images, self.ratio or 0)
        check_count("--budget", self.budget, images)
        return self.budget


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The places of a run.

    store: the store of artefacts.
    data: the folder of decoded images.
    device: the device that computes.
    """

    store: Store
    data: Path
    device: str

    @classmethod
    def at(cls, store: Place = None, data: Place = None, device: str = "auto") -> Workspace:
        """Return these places. If None, they come from the environment or the user's cache."""
        return cls(
            store=Store(places.folder("store", store)),
            data=places.folder("data", data),
            device=pick_device(device),
        )

    @property
    def tables(self) -> Path:
        """The folder of tables that stages read: see `tables.filed`."""
        return self.store.root / "photos"

    def labels(self, known: Known, folder: Path) -> Path:
        """Return a file of labels: the one that is given, or a .csv with those of several.

        Raise PrunebenchError as `folder.together` does.
        """
        if isinstance(known, str | Path):
            return Path(known)
        self.check_outside(folder)
        return together([Path(path) for path in known], folder, self.tables)

    def check_outside(self, folder: Path) -> None:
        """Raise PrunebenchError if the store or the data lie in a folder of photos."""
        check_outside(folder, self.store.root, "--store")
        check_outside(folder, self.data, "--data")

    def matrix(self, cells: Sequence[Cell], specs: Mapping[str, Any]) -> Matrix:
        """Return the matrix of some cells at these places.

        specs: the specification of each dataset, by name.
        """
        return Matrix(list(cells), self.store, self.data, self.device, specs=specs)


def specs(*photos: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return specifications of `Photos` of one folder and that of their pool, by name."""
    pool = {name: photos[0][name] for name in ("path", "side", "on_bad")}
    return {spec["name"]: spec for spec in (*photos, {"family": POOL, "name": POOL, **pool})}


def unknown_content(roots: Mapping[str, str], name: str) -> bool:
    """Whether the content of a dataset is not known yet. roots: keys of datasets, by name."""
    return roots[name].startswith("absent:")


def resolver_of(recipe: str, changes: Mapping[str, Any] | None = None) -> Resolver:
    """Return what resolves recipe and parts for photos. changes: "PART.field" or "recipe.field" -> value."""
    file = SuiteFile(title="photos", datasets=[], methods=[], recipe=recipe)
    return Resolver(Suite("photos", file, Path()), Filters(changes=changes or {}), load())


def construct_request(**values: Any) -> Request:
    """Return a request. Paths may be text.

    values: the fields of `Request`.

    Raise PrunebenchError for an unknown field.
    """
    fields = Request.__dataclass_fields__
    if strange := [name for name in values if name not in fields]:
        raise unknown("option of prune", strange[0], fields, "docs/photos.md")
    paths = {name: Path(values[name]) for name in ("folder", "known", "groups", "scores") if values.get(name)}
    return Request(**values | paths)


class Work:
    """A request with all that follows from it.

    survey: the files of the folder.
    spec: what the registry makes the dataset from.
    dataset: the photos as a dataset. With groups it has those that count.
    roots: keys of the dataset and of its pool. "absent:..." if the images were not read, or not with these
        labels.
    read: whether the images were read and their content is known, whatever their labels.
    names: the readable images, or all of them if the images were not read.
    classes: the class names.
    known: the known labels, by image.
    scores: the scores that the request gives, by image, or None.
    left_out: images that cannot be read or listed.
    side: pixels to which the images are shrunk.
    search: the search for duplicates, or None if they are ignored.
    searched: whether its result is known.
    standing: the image that stands for each image, int64 [n]. An image that counts stands for itself.
    counted: the images that count, int64 [m], ascending: all, but for duplicates and others of a group.

    look: read the images if their content is not known yet.
    """

    def __init__(self, request: Request, place: Workspace, look: bool) -> None:
        self.place = place
        place.check_outside(request.folder)
        self.survey = survey(request.folder)
        names = listed(self.survey, request.folder, request.on_bad)
        # Errors in the tables come first: reading the images may take hours.
        labels_of(request.known, names, request.folder)
        if request.groups is not None:
            read_groups(request.groups, names, request.folder)
        self.scores = None if request.scores is None else read_scores(request.scores, names, request.folder)
        if request.backbone is not None:
            check_embedded(request.backbone, names, request.on_bad, request.changes)
        self.side = request.side or common_side(request.folder, names)
        self.request = replace(request, side=self.side)
        self.spec = self.request.spec
        self.dataset: Dataset = load().dataset(self.spec)
        self.dataset.classes  # noqa: B018 - raises for too few classes, or for more than --classes
        self.roots = roots_of([self.dataset], place.data, place.store, look=look)
        self.read = not unknown_content(self.roots, POOL)
        self.names = self.dataset.names(place.data) if self.read else tuple(names)
        # Read the .csv again: labels may have been added while the images were read.
        self.classes = self.dataset.classes
        known = labels_of(request.known, names, request.folder)
        present = set(self.names)
        self.left_out = (*(name for name in names if name not in present), *self.survey.nameless)
        self.known = {name: label for name, label in known.items() if name in present}
        self.standing = self.counted = np.arange(len(self.names))
        self.search = self._search()
        self.searched = self.search is None or place.store.verify(self.search.key)
        if self.read and self.searched:
            self._count_groups(self._groups(names), look)

    def _search(self) -> Duplicates | None:
        """Return the search for duplicates in the whole folder."""
        if self.request.duplicates == "ignore":
            return None
        cell = self._cell(len(self.names))
        assert cell.dataset.pool is not None
        return Duplicates.of(Plan(self.roots), replace(cell, dataset=cell.dataset.pool.dataset))

    def _groups(self, names: Sequence[str]) -> Array:
        """Return the group of each image, as given and as found: int64 [n]. names: all in the folder."""
        groups = groups_of(self.request.groups, self.names, names, self.request.folder)
        if self.search is None:
            return groups
        found = self.place.store.read(self.search.key, Groups).values
        return joined(found, groups)

    def _count_groups(self, groups: Array, look: bool) -> None:
        """Leave one image of each group in the dataset, beside the labeled ones."""
        is_labeled = np.array([name in self.known for name in self.names])
        self.standing = stand_ins(groups, is_labeled)
        self.counted = counting(self.standing)
        if len(self.counted) == len(self.names):
            return
        table = write_groups(groups, self.names, self.place.tables)
        self.spec = self.spec | {"groups": str(table)}
        self.dataset = load().dataset(self.spec)
        self.roots = roots_of([self.dataset], self.place.data, self.place.store, look=look)

    @property
    def grouped(self) -> bool:
        """Whether it is known which images count."""
        asks = self.search is not None or self.request.groups is not None
        return self.read and self.searched if asks else True

    @property
    def keep(self) -> int:
        """How many images are kept."""
        return self.request.keep(len(self.names))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Doubts about the photos and the labels, a line each, with the reading that was assumed."""
        sizes = Counter(self.known.values())
        messages = [self.survey.remark, *doubts(self.known.values())]
        if single := [name for name in self.classes if sizes[name] == 1]:
            messages.append(f"{len(single)} class(es) with a single label: {some(single)}")
        if clashing := self._clashing():
            messages.append(f"{len(clashing)} duplicate(s) with another label: {some(clashing)}")
        if unseen := [name for name in self.classes if not sizes[name]]:
            messages.append(f"{len(unseen)} class(es) without a label, which nothing can recognize")
        return tuple(filter(None, messages))

    def _clashing(self) -> list[str]:
        """Return the labeled images whose label differs from that of an earlier duplicate."""
        if self.search is None or not (self.read and self.searched):
            return []
        groups = self.place.store.read(self.search.key, Groups).values
        labeled = [i for i, name in enumerate(self.names) if name in self.known]
        first: dict[int, str] = {}
        for i in labeled:
            first.setdefault(groups[i], self.known[self.names[i]])
        return [self.names[i] for i in labeled if first[groups[i]] != self.known[self.names[i]]]

    @cached_property
    def cell(self) -> Cell:
        """The one cell."""
        return self._cell(len(self.counted))

    def _cell(self, images: int) -> Cell:
        return _cell(self.request, self._method, self.dataset, self.keep, images, len(self.known))

    @property
    def _method(self) -> Method:
        """The method, as it is registered or follows from scores."""
        if self.scores is None:
            method: Method = load().get("methods", self.request.method)
            return method
        return own_scores(self.scores, [self.names[i] for i in self.counted], self.place.tables)

    @cached_property
    def matrix(self) -> Matrix:
        """The matrix of the one cell."""
        return self.place.matrix([self.cell], specs(self.spec))

    @cached_property
    def ends(self) -> dict[str, Stage]:
        """The stages whose results are reported for each image, by kind: labels, subset, perhaps scores."""
        graph = Graph([self.cell], self.roots)
        subset = graph.subset(self.cell)
        scores = {stage.kind: stage for stage in subset.ancestors() if stage.kind == "scores"}
        return {"labels": graph.labels(self.cell), **scores, "subset": subset}

    def check(self, needed: Mapping[str, Stage]) -> None:
        """Raise PrunebenchError if the device or a part cannot compute the needed stages."""
        self.matrix.check_device()
        try:
            self.matrix.check_parts(needed)
        except PrunebenchError as error:
            raise PrunebenchError(f"{error}; or choose another with --backbone, such as pixels") from None


def check_embedded(
    backbone: str, names: Sequence[str], on_bad: str, changes: Mapping[str, Any] | None = None
) -> None:
    """Raise PrunebenchError if a backbone that knows images by their names lacks one.

    backbone: its name.
    names: all images in the folder.
    on_bad: with "skip", those that it lacks may be those that cannot be read. Then nothing is checked.
    changes: "PART.field" -> value.
    """
    part = resolver_of("quick", changes).part(load().part("backbone", backbone), {})
    if {*part.needs()} == {"names"} and on_bad == "fail":
        part.ready()
        part.embed(names=tuple(names))  # type: ignore[attr-defined]


def _cell(request: Request, method: Method, dataset: Dataset, keep: int, images: int, labeled: int) -> Cell:
    """Return the one cell of a request. Its method keeps all labeled images.

    method: as it is registered.
    keep: number of images to keep.
    images: number of images that count.
    labeled: number of labeled images.

    Raise PrunebenchError if no image is left to choose, or if too few count.
    """
    if keep > images:
        raise PrunebenchError(
            f"{keep} images are to be kept, but only {images} are left if at most one of each group of "
            "duplicates is; lower --budget, raise --ratio, or give --duplicates ignore"
        )
    if labeled >= keep:
        raise PrunebenchError(
            f"{labeled} images have a label and are kept, so none of the {keep} to keep is left to choose; "
            "raise --budget or lower --ratio"
        )
    resolver = resolver_of(request.recipe, request.changes)
    name, recipe, defaults = resolver.recipe(dataset)
    if request.backbone and recipe.proxy_backbone:
        recipe = replace(recipe, proxy_backbone=request.backbone)
    asked = method.name
    method = _with_labeler(method)
    method = including_annotated(method, labeled / images, request.backbone)
    method = resolver.resolved(method, defaults)
    for path in request.changes:
        if f"{path}=" not in method.name:
            raise PrunebenchError(f"--set {path}: {asked} has no such part")
    return Cell(
        suite="photos",
        dataset=dataset,
        method=method,
        ratio=_ratio(request, keep, images),
        seed=request.seed,
        recipe_name=name,
        recipe=recipe,
        repeats="pipeline",
        tuning="default",
        proxy_backbone=resolver.backbones(recipe, defaults).proxy,
        keep=keep,
    )


def _with_labeler(method: Method) -> Method:
    """Return a method with a labeler. Where it had none, its choice does not depend on the pseudo-labels."""
    if method.labeler is not None:
        return method
    return replace(method, labeler=load().part("labeler", LABELER))  # type: ignore[arg-type]


def _ratio(request: Request, keep: int, images: int) -> int:
    """Return the percent of the images that count to drop. Parts may have fields that follow it.

    It is the nearest whole ratio below, unless a ratio was given, and all images count.
    """
    if request.ratio is not None and request.keep(images) == keep:
        return request.ratio
    return 100 * (images - keep) // images


def including_annotated(method: Method, share: float, backbone: str | None = None) -> Method:
    """Return a variant of a method that takes known labels as given and keeps all labeled images.

    share: share of the images that have a known label, in 0..1.
    backbone: name of a backbone that replaces those of the method.

    Raise PrunebenchError if the method labels all images, is a reference, or reads no labels.
    """
    if method.label_fraction == 1 or method.reference:
        reason = (
            "needs the labels of all images" if method.label_fraction == 1 else "is a reference for tables"
        )
        raise PrunebenchError(f"method {method.name!r} {reason}; choose one that needs few labels or none")

    labeler = method.labeler or load().part("labeler", "none")
    try:
        labeler = change(
            labeler, {"label_fraction": share, "sampling": "given"}, f"method {method.name}: labeler"
        )
    except PrunebenchError:
        raise PrunebenchError(
            f"method {method.name!r} has no use for known labels: its labeler {labeler.name} reads none; "
            "choose one that learns from a few, such as probe_aum, or one without a labeler"
        ) from None
    selector = method.selector
    title = method.title
    if not selector.keeps_annotated:
        selector = load().part("selector", {"part": "include", "selector": selector})  # type: ignore[assignment]
        title = f"{title}, annotated kept"
    parts = {"labeler": labeler, "scorer": method.scorer, "selector": selector}
    if backbone is not None:
        parts = {kind: part and on_backbone(part, backbone) for kind, part in parts.items()}
    return Method(method.name, title=title, **parts)  # type: ignore[arg-type]


def on_backbone(part: Part, backbone: str) -> Part:
    """Return a part that reads the embeddings of this backbone, but those of the proxy network as before."""

    def visit(inner: Part) -> Part:
        if isinstance(inner, Backbone) or getattr(inner, "backbone", None) in (None, PROXY):
            return inner
        return replace(inner, backbone=backbone)  # type: ignore[call-arg]

    return map_parts(part, visit)
