"""Methods against Random at equal labels, on photos that have labels: these are hidden, then asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prunebench.parts.artefacts import Accuracy
from prunebench.parts.dataset import Dataset
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.photos.cost import Sizes
from prunebench.photos.request import Request, Workspace, including_annotated, resolver_of
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.stages.learning_curve import FOLDS
from prunebench.pipeline.store import Store
from prunebench.results.learning_curve import Estimate
from prunebench.results.statistics import resampled_interval, summarize
from prunebench.suites.cells import Cell

HOLDOUT = 1 / FOLDS  # share of the labeled images that is tested on
KNOWN = 1 / 4  # share of the others whose labels are known at first
KEPT = 1 / 2  # share of the others that has a label in the end
FEWEST_KNOWN = 10  # labels known at first. Fewer say nothing about a method that learns from them
RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A method against Random at equal labels.

    method: name of the method.
    labels: labels that both have in the end.
    differences: accuracy with the method's labels minus that with Random's, in points, by seed.
    """

    method: str
    labels: int
    differences: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence, by the 95 % interval of the mean difference."""
        what = f"Choosing by {self.method}"
        mean = summarize(self.differences).mean
        interval = resampled_interval(self.differences, HOLDOUT)
        if interval is None:
            return (
                f"{what} is not separated from Random: {mean:+z.1f} points for every seed, which shows no "
                f"spread, both with {self.labels:,} labels."
            )
        found = Estimate(mean, *interval)
        size = f"{abs(found.value):.1f} ± {found.margin:.1f} points"
        if found.low > 0:
            return f"{what} beats Random by {size}, both with {self.labels:,} labels."
        if found.high < 0:
            return f"{what} loses to Random by {size}, both with {self.labels:,} labels."
        return (
            f"{what} is not separated from Random: {found.value:+z.1f} ± {found.margin:.1f} points, "
            f"both with {self.labels:,} labels."
        )


class Contests:
    """The contests of some methods, with new splits for each seed.

    1. A share HOLDOUT of the labeled images is held out.
    2. Of the others, a share KNOWN has known labels. The other labels are hidden.
    3. A method chooses among the hidden ones, until a share KEPT has labels. Random chooses as many.
    4. A network is trained on the labels of either, and tested on the images held out.

    sizes: how many images have a label, known or hidden, and how many are known at first and in the end.
    specs: the specification of the dataset of each seed.
    datasets: that dataset.
    roots: the keys of these datasets, by name.
    cells: by the name of the method, one for each seed. Empty if there are too few labels.
    ends: the stages that test the networks, as `cells`.

    request: the folder, the labels and how networks are trained.
    methods: names of the methods.
    labeled: number of labels.
    classes: number of classes.
    look: read the images if their content is not known yet.
    """

    def __init__(
        self,
        request: Request,
        methods: Sequence[str],
        *,
        labeled: int,
        classes: int,
        seeds: int,
        place: Workspace,
        look: bool,
    ) -> None:
        others = labeled - labeled // FOLDS
        self.sizes = Sizes(images=others, labeled=int(others * KNOWN), kept=int(others * KEPT))
        self.needed = math.ceil(max(FEWEST_KNOWN, classes) / (KNOWN * (1 - HOLDOUT)))
        names = [] if labeled < self.needed or not methods else [RANDOM, *methods]
        spec = request.spec | {"holdout": HOLDOUT}
        self.specs = [spec | {"name": f"photos_{seed}", "seed": seed} for seed in range(seeds) if names]
        datasets: list[Dataset] = [load().dataset(each) for each in self.specs]
        self.roots = roots_of(datasets, place.data, place.store, look=look)
        self.cells = {
            name: [
                cell_of(request, dataset, simulated(name, request.backbone), seed, keep=self.sizes.kept)
                for seed, dataset in enumerate(datasets)
            ]
            for name in names
        }
        graph = Graph([cell for cells in self.cells.values() for cell in cells], self.roots)
        self.ends = {name: [graph.targets[cell] for cell in cells] for name, cells in self.cells.items()}

    def read(self, store: Store) -> tuple[Contest, ...]:
        """Return the contests, in the order of the methods. The stages are stored."""
        accuracies = {
            name: [store.read(end.key, Accuracy).accuracy for end in ends] for name, ends in self.ends.items()
        }
        random = accuracies.pop(RANDOM, [])
        return tuple(
            Contest(
                method=name,
                labels=self.sizes.kept,
                differences=tuple(ours - theirs for ours, theirs in zip(values, random, strict=True)),
            )
            for name, values in accuracies.items()
        )


def simulated(name: str, backbone: str | None) -> Method:
    """Return a method that is given a share KNOWN of the labels, and keeps these images.

    Raise PrunebenchError if it is unknown, or cannot be used on photos of which a few have labels.
    """
    method = including_annotated(load().get("methods", name), KNOWN, backbone)
    assert method.labeler is not None
    # A class without a known label would make some methods fail, by the chance of the split.
    return replace(method, labeler=replace(method.labeler, sampling="stratified"))


def cell_of(request: Request, dataset: Dataset, method: Method, seed: int, keep: int | None = None) -> Cell:
    """Return a cell whose networks train as the request says.

    keep: number of images that the method keeps. None: all.
    """
    resolver = resolver_of(request.recipe)
    name, recipe, defaults = resolver.recipe(dataset)
    if request.backbone and recipe.proxy_backbone:
        recipe = replace(recipe, proxy_backbone=request.backbone)
    if request.backbone and recipe.final_backbone:
        recipe = replace(recipe, final_backbone=request.backbone)
    backbones = resolver.backbones(recipe, defaults)
    return Cell(
        suite="photos",
        dataset=dataset,
        method=resolver.resolved(method, defaults),
        ratio=0 if keep is None else round(100 * (1 - KEPT)),
        seed=seed,
        recipe_name=name,
        recipe=recipe,
        repeats="pipeline",
        tuning="default",
        proxy_backbone=backbones.proxy,
        final_backbone=backbones.final,
        keep=keep,
    )
