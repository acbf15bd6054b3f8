"""What figures are drawn from: the chosen rows of a page, kept images, and the embeddings of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prunebench.errors import PrunebenchError, unknown
from prunebench.figures.histograms import bought
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
    """Which rows of a page to draw; None draws all. families: a name stands for its label budgets too."""

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    ratios: Sequence[int] | None = None
    seeds: Sequence[int] | None = None
    recipe: str | None = None
    families: bool = False


def narrowed(page: Page, chosen: Chosen) -> Page:
    """Return a page with the chosen rows alone; those of a method pinned to one ratio stay at it.

    Raise PrunebenchError for what no row has.
    """
    rows = list(page.rows)
    named: Callable[[Result], str] = (
        (lambda row: family(row)[0]) if chosen.families else (lambda row: row.method)
    )
    rows = _having(rows, "dataset", chosen.datasets, lambda row: {row.dataset}, page)
    rows = _having(
        rows, "recipe", None if chosen.recipe is None else [chosen.recipe], lambda row: {row.recipe}, page
    )
    rows = _having(rows, "method", chosen.methods, lambda row: {row.method, named(row)}, page)
    if chosen.seeds is not None:
        rows = [row for row in rows if row.seed in chosen.seeds]
    if chosen.ratios is not None:
        ratios: dict[str, set[int]] = {}
        for row in rows:
            ratios.setdefault(row.method, set()).add(row.ratio)
        rows = [r for r in rows if r.ratio in chosen.ratios or (r.reference and len(ratios[r.method]) == 1)]
        if not any(row.ratio in chosen.ratios for row in rows):
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
    if wanted is None or list(wanted) == ["all"]:
        return rows
    known = {name for row in rows for name in names(row)}
    for name in wanted:
        if name not in known:
            raise unknown(f"{kind} with rows of suite {page.suite!r}", name, known, "prunebench leaderboard")
    return [row for row in rows if names(row) & set(wanted)]


def truth_per_class(board: Board, dataset: Dataset | None, data: Path) -> Array:
    """Return how many training images each class has: int [classes], from the rows, or else from the data."""
    for row in board.rows:
        if row.kept == row.images:
            return np.array(row.kept_per_class)
    if dataset is None:
        raise PrunebenchError(
            f"no row of {board.rows[0].dataset} tells the sizes of its classes, and its plugin is not "
            f"installed; run: prunebench run --suite {board.page.suite} --methods full"
        )
    return np.bincount(load_split(dataset, data, "train")[1], minlength=len(dataset.classes))


def shares(board: Board, dataset: Dataset | None, data: Path, store: Store) -> list[Share]:
    """Return the parts of the training images whose fate is worth a look: corrupted ones, and the tail.

    Raise PrunebenchError where there are none, or where a subset is not stored.
    """
    found = []
    corrupt = corrupted(dataset, data)
    if corrupt is not None:
        kept = kept_images(board, store)

        def percent(row: Result) -> float:
            return 100 * float(corrupt[kept[row.subset_key]].mean())

        found.append(Share("corrupted", 100 * float(corrupt.mean()), percent))
    sizes = truth_per_class(board, dataset, data)
    rare = tail(sizes)
    if rare is not None:

        def rarely(row: Result) -> float:
            return 100 * float(np.array(row.kept_per_class)[rare].sum() / row.kept)

        found.append(Share("tail-class", 100 * float(sizes[rare].sum() / sizes.sum()), rarely))
    if not found:
        raise PrunebenchError(
            f"{board.rows[0].dataset} has no corrupted images, and no class of less than half the images of "
            "another; choose other --datasets"
        )
    return found


def corrupted(dataset: Dataset | None, data: Path) -> Array | None:
    """Return which training images are corrupted, bool [n]; None for a dataset that knows of none.

    A dataset that corrupts images has a method corrupted(labels) -> int [n], 0 for a clean image.
    """
    kinds = getattr(dataset, "corrupted", None)
    if dataset is None or kinds is None:
        return None
    return np.asarray(kinds(load_split(dataset, data, "train")[1])) > 0


def kept_images(board: Board, store: Store) -> dict[str, Array]:
    """Return the kept images of each row that is drawn, int [keep], by subset_key."""
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
    """Where embeddings come from: a stage of embeddings, or one of labels whose network has features."""

    title: str
    stage: BackboneEmbeddings | ProxyEmbeddings | LabelerLabels


def sources(matrix: Matrix) -> dict[str, list[Source]]:
    """Return the backbones, and the labelers that look at images, of a matrix's first seed, by dataset."""
    first = min(cell.seed for cell in matrix.cells)
    found: dict[str, dict[str, Source]] = {}
    for cell, target in matrix.graph.targets.items():
        own = found.setdefault(cell.dataset.name, {})
        if cell.seed != first:
            continue
        labeler = cell.method.labeler
        for stage in target.ancestors():
            if isinstance(stage, BackboneEmbeddings):
                own.setdefault(stage.key, Source(stage.part["part"], stage))
            elif isinstance(stage, ProxyEmbeddings):
                own.setdefault(stage.key, Source(f"proxy network of {cell.method.title}", stage))
            elif isinstance(stage, LabelerLabels) and labeler is not None and "images" in labeler.needs():
                title = f"{labeler.name}, {bought(labeler.annotation)}"
                own.setdefault(stage.key, Source(title, stage))
    return {name: list(own.values()) for name, own in found.items()}


def features(source: Source, matrix: Matrix, index: Array) -> Array | None:
    """Return the embeddings of some images: float32 [m, d]; None for a labeler that kept no network."""
    stage = source.stage
    if not isinstance(stage, LabelerLabels):
        return matrix.store.read(stage.key, Embeddings).values[index]
    if not matrix.store.has(stage.key, Weights):
        return None
    given = matrix.store.read(stage.key, Weights)
    from prunebench.nn import networks, training

    side = stage.side  # of what the labeler's network sees
    images: Images = load_split(stage.dataset, matrix.data, "train")[0].take(index)
    network = networks.build(
        given.network,
        channels=images.channels,
        classes=len(stage.dataset.classes),
        resolution=images.resolution if side is None else side,
        generator_seed=0,
    )
    networks.restore(network, given.values)
    return training.embed(network.to(matrix.device), images, device=matrix.device, side=side)
