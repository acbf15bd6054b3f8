"""What a report shows of the artefacts of a board, at one seed. Its values become JSON."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import PrunebenchError
from prunebench.figures.drawings import Places
from prunebench.figures.report import lineage, selections
from prunebench.figures.report.embedded import Maps, embedded
from prunebench.figures.report.measured import methods_of
from prunebench.figures.report.pictures import Montage, montage
from prunebench.figures.report.selections import Histogram, Pairs
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset
from prunebench.parts.images import Images
from prunebench.pipeline.context import load_split
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.results.board import Board
from prunebench.runs.pages import suite_of


@dataclass
class Stored:
    """Artefacts of a board. Lists have an entry for each ratio.

    methods: number of methods with a stored subset, at the ratio that has most.
    again: whether some subset was made later than its row, by the same settings.
    histograms: of scores, for each ratio, then method.
    jaccard: the overlap of subsets.
    spearman: the rank correlation of scores.
    montage: None if the dataset is not on this machine.
    maps: None without embeddings, or if the dataset is not on this machine.
    """

    seed: int
    methods: int
    again: bool
    histograms: list[list[Histogram | None]]
    jaccard: list[Pairs]
    spearman: list[Pairs]
    montage: Montage | None
    maps: Maps | None


def stored(board: Board, places: Places, dataset: Dataset | None) -> Stored | None:
    """Return what is stored of a board at the first seed with a stored subset, or None without any.

    dataset: None if its plugin is not installed.
    """
    methods = methods_of(board)
    own = [row for rows in methods for row in rows]
    found = lineage.with_subset(own, suite_of(board.page.suite, places.results), places.store)
    if not found:
        return None
    seed = min(row.seed for row in found)
    of_seed = {(row.method, row.ratio): row for row in reversed(found) if row.seed == seed}
    rows = [[of_seed.get((one[0].method, ratio)) for one in methods] for ratio in board.ratios]
    subsets = [[lineage.picked(row, places.store) if row else None for row in of_ratio] for of_ratio in rows]
    split = _split(board, dataset, places)
    maps = None
    if dataset is not None and split is not None:
        sources = lineage.embeddings(of_seed.values(), places.store)
        maps = embedded(sources, places.store, dataset, split[1], subsets)
    return Stored(
        seed=seed,
        methods=max(sum(one is not None for one in of_ratio) for of_ratio in subsets),
        again=not {row.subset_key for row in found} <= {row.subset_key for row in own},
        histograms=[[selections.histogram(one) for one in of_ratio] for of_ratio in subsets],
        jaccard=[selections.jaccard(of_ratio, board.rows[0].images) for of_ratio in subsets],
        spearman=[selections.spearman(of_ratio) for of_ratio in subsets],
        montage=montage(split[0], subsets) if split else None,
        maps=maps,
    )


def _split(board: Board, dataset: Dataset | None, places: Places) -> tuple[Images, Array] | None:
    """Return the training images and labels of a board, or None if they are not on this machine."""
    if dataset is None:
        return None
    try:
        same = dataset_key(dataset, places.data, places.store) == board.rows[0].dataset_hash
        return load_split(dataset, places.data, "train") if same else None
    except PrunebenchError:  # files that cannot be read, or change meanwhile
        return None
