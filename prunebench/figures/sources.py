"""The data of figures: the chosen rows of a page, the kept images, and the embeddings of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prunebench.errors import PrunebenchError, unknown
from prunebench.figures.histograms import budget
from prunebench.figures.lines import Share, family, tail
from prunebench.parts.artefacts import Array, Embeddings, Subset, Weights
from prunebench.parts.dataset import Dataset
from prunebench.pipeline.context import load_split
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.proxy_embeddings import ProxyEmbeddings
from prunebench.pipeline.store import Store
from prunebench.results.board import Board, Page
from prunebench.results.rows import Result

if TYPE_CHECKING:
    from prunebench.parts.images import Images


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The rows of a page to draw. A field of None draws all.

    methods: names of methods.
    datasets: names of datasets.
    ratios: in percent pruned.
    seeds: as in the rows.
    recipe: name of the recipe.
    families: whether the name of a method includes its variants with other label budgets.
    """

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    ratios: Sequence[int] | None = None
    seeds: Sequence[int] | None = None
    recipe: str | None = None
    families: bool = False


def narrowed(page: Page, chosen: Chosen) -> Page:
    """Return a page with only the chosen rows. A reference with rows at one ratio alone keeps them.

    Raise PrunebenchError if no row has a chosen name, ratio or seed.
    """

    def method_names(row: Result) -> set[str]:
        return {row.method, family(row)[0]} if chosen.families else {row.method}

    recipes = None if chosen.recipe is None else [chosen.recipe]
    rows = list(page.rows)
    rows = _having(rows, "dataset", chosen.datasets, lambda row: {row.dataset}, page)
    rows = _having(rows, "recipe", recipes, lambda row: {row.recipe}, page)
    rows = _having(rows, "method", chosen.methods, method_names, page)
    if chosen.seeds is not None:
        rows = [row for row in rows if row.seed in chosen.seeds]
    if chosen.ratios is not None:
        ratios: dict[str, set[int]] = {}
        for row in rows:
            ratios.setdefault(row.method, set()).add(row.ratio)
        at_ratios = [row for row in rows if row.ratio in chosen.ratios]
        if at_ratios:
            # A reference with one ratio alone, such as all images, is drawn beside the others.
            rows = [
                row
                for row in rows
                if row.ratio in chosen.ratios or (row.reference and len(ratios[row.method]) == 1)
            ]
        else:
            rows = []
    if not rows:
        raise PrunebenchError(f"no chosen row of suite {page.suite!r} has these ratios and seeds")
    return replace(page, rows=rows, ratios=chosen.ratios or page.ratios, seeds=chosen.seeds or page.seeds)


def _having(
    rows: list[Result],
    kind: str,
    wanted: Sequence[str] | None,
    names: Callable[[Result], set[str]],
    page: Page,
) -> list[Result]:
    """Return the rows with a wanted name. Raise PrunebenchError for a name that no row has.

    kind: "dataset", "recipe" or "method", for the message.
    wanted: names, or None or ["all"] for all rows.
    names: returns the names of a row.
    """
    if wanted is None or list(wanted) == ["all"]:
        return rows
    known = {name for row in rows for name in names(row)}
    for name in wanted:
        if name not in known:
            raise unknown(f"{kind} with rows of suite {page.suite!r}", name, known, "prunebench leaderboard")
    return [row for row in rows if names(row) & set(wanted)]


def truth_per_class(board: Board, dataset: Dataset | None, data: Path) -> Array:
    """Return the training images per class: int [classes].

    They come from a row that kept all images, or else from the dataset.

    dataset: None if its plugin is not installed.
    data: folder of datasets.

    Raise PrunebenchError if there is no such row and no dataset.
    """
    for row in board.rows:
        if row.kept == row.images:
            return np.array(row.kept_per_class)
    if dataset is None:
        raise PrunebenchError(
            f"no row of {board.rows[0].dataset} has the sizes of its classes, and its plugin is not "
            f"installed; run: prunebench run --suite {board.page.suite} --methods full"
        )
    return np.bincount(load_split(dataset, data, "train")[1], minlength=len(dataset.classes))


def shares(board: Board, dataset: Dataset | None, data: Path, store: Store) -> list[Share]:
    """Return the parts of the training images to follow: corrupted images, and the tail of rare classes.

    dataset: None if its plugin is not installed.
    data: folder of datasets.
    store: store of artefacts.

    Raise PrunebenchError if the dataset has neither part, or if a subset is not stored.
    """
    parts = []
    is_corrupted = corrupted(dataset, data)
    if is_corrupted is not None:
        kept = kept_images(board, store)

        def corrupted_percent(row: Result) -> float:
            return 100 * float(is_corrupted[kept[row.subset_key]].mean())

        parts.append(Share("corrupted", 100 * float(is_corrupted.mean()), corrupted_percent))
    sizes = truth_per_class(board, dataset, data)
    rare = tail(sizes)
    if rare is not None:

        def tail_percent(row: Result) -> float:
            return 100 * float(np.array(row.kept_per_class)[rare].sum() / row.kept)

        parts.append(Share("tail-class", 100 * float(sizes[rare].sum() / sizes.sum()), tail_percent))
    if not parts:
        raise PrunebenchError(
            f"{board.rows[0].dataset} has no corrupted images, and no class of less than half the images of "
            "another; choose other --datasets"
        )
    return parts


def corrupted(dataset: Dataset | None, data: Path) -> Array | None:
    """Return which training images are corrupted: bool [n]. None if the dataset corrupts no images.

    A dataset that corrupts images has a method `corrupted(labels)`. It returns int [n], 0 for a clean image.

    data: folder of datasets.
    """
    kinds = getattr(dataset, "corrupted", None)
    if dataset is None or kinds is None:
        return None
    return np.asarray(kinds(load_split(dataset, data, "train")[1])) > 0


def kept_images(board: Board, store: Store) -> dict[str, Array]:
    """Return the kept images of each method's rows, int [keep], by subset_key.

    Raise PrunebenchError if a subset is not stored.
    """
    keys = {row.subset_key for rows in board.methods(reference=False) for row in rows}
    absent = [key for key in sorted(keys) if key not in store]
    if absent:
        row = board.rows[0]
        raise PrunebenchError(
            f"{len(absent)} of {len(keys)} subsets of {row.dataset} are not in {store.root}; name another "
            f"--store, fewer --methods, or run: prunebench run --suite {board.page.suite} "
            f"--datasets {row.dataset}"
        )
    return {key: store.read(key, Subset).index for key in sorted(keys)}


@dataclass(frozen=True, eq=False)
class Source:
    """A source of embeddings.

    title: of its panel.
    stage: a stage of embeddings, or one of labels with a network of its own.
    """

    title: str
    stage: BackboneEmbeddings | ProxyEmbeddings | LabelerLabels


def sources(matrix: Matrix) -> dict[str, list[Source]]:
    """Return the sources of embeddings of a matrix, by dataset, without duplicates.

    Sources are backbones, proxy networks, and labelers that train on images, each with the first seed.
    """
    first = min(cell.seed for cell in matrix.cells)
    by_dataset: dict[str, dict[str, Source]] = {}  # dataset -> key of the stage -> source
    for cell, target in matrix.graph.targets.items():
        by_key = by_dataset.setdefault(cell.dataset.name, {})
        if cell.seed != first:
            continue
        labeler = cell.method.labeler
        for stage in target.ancestors():
            if isinstance(stage, BackboneEmbeddings):
                by_key.setdefault(stage.key, Source(stage.part["part"], stage))
            elif isinstance(stage, ProxyEmbeddings):
                by_key.setdefault(stage.key, Source(f"proxy network of {cell.method.title}", stage))
            elif isinstance(stage, LabelerLabels) and labeler is not None and "images" in labeler.needs():
                title = f"{labeler.name}, {budget(labeler.label_fraction)}"
                by_key.setdefault(stage.key, Source(title, stage))
    return {name: list(by_key.values()) for name, by_key in by_dataset.items()}


def features(source: Source, matrix: Matrix, index: Array) -> Array | None:
    """Return the embeddings of some images: float32 [m, d]. None for a labeler that kept no network.

    index: int [m], positions in the training split.
    """
    stage = source.stage
    if not isinstance(stage, LabelerLabels):
        return matrix.store.read(stage.key, Embeddings).values[index]
    if not matrix.store.has(stage.key, Weights):
        return None
    weights = matrix.store.read(stage.key, Weights)
    from prunebench.nn import networks, training

    side = stage.side  # input size of the labeler's network, None for the size of the images
    images: Images = load_split(stage.dataset, matrix.data, "train")[0].take(index)
    network = networks.build(
        weights.network,
        channels=images.channels,
        classes=len(stage.dataset.classes),
        resolution=images.resolution if side is None else side,
        generator_seed=0,
    )
    networks.restore(network, weights.values)
    return training.embed(network.to(matrix.device), images, device=matrix.device, side=side)
