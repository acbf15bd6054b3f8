"""The report on label quality: labelers side by side, from the stored quality stages of a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from prunebench.errors import MissingArtefactError
from prunebench.parts.artefacts import Quality
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.results.cells import Gap, Measured
from prunebench.results.record import title
from prunebench.results.spelling import GAP, spelled, told_apart
from prunebench.results.statistics import summarize
from prunebench.results.tables import QUALITY_HEADER, quality_cells

MOST_CLASSES = 20  # with more classes, a histogram is summarized


@dataclass
class Judged:
    """A labeler on a dataset.

    labeler: its title, or its settings where another on the dataset has the same title and budget.
    dataset: the name of the dataset.
    label_fraction: the share of annotated labels, in 0..1.
    methods: the names of the methods that use it.
    stages: its quality stages, by key. Seeds that share the labeler share one.
    found: the stored results of these stages.
    """

    labeler: str
    dataset: str
    label_fraction: float
    methods: list[str] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)
    found: list[Quality] = field(default_factory=list)


def judged(matrix: Matrix) -> list[Judged]:
    """Return every labeler of a matrix that makes pseudo-labels, once per dataset."""
    groups: dict[tuple[str, float, str, str], Judged] = {}
    for cell, stage in matrix.graph.qualities.items():
        labeler = cell.method.labeler
        if stage is None or labeler is None:
            continue
        name, dataset, share = title(labeler), cell.dataset.name, labeler.label_fraction
        settings = stage.sources[0].title
        group = groups.setdefault((name, share, dataset, settings), Judged(name, dataset, share))
        if cell.method.name not in group.methods:
            group.methods.append(cell.method.name)
        if stage.key not in group.stages:
            group.stages[stage.key] = stage
            with suppress(MissingArtefactError):  # the report says how many seeds there are
                group.found.append(matrix.store.read(stage.key, Quality))
    for key, name in told_apart(groups).items():
        groups[key].labeler = name
    return list(groups.values())


def overview(groups: Sequence[Judged]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table labelers x datasets: the percent of correct labels."""
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    labelers = list(dict.fromkeys((group.labeler, group.label_fraction) for group in groups))
    cells = {(group.labeler, group.label_fraction, group.dataset): _correct(group) for group in groups}
    rows = [
        [name, f"{share:.0%}", *(cells.get((name, share, dataset), GAP) for dataset in datasets)]
        for name, share in labelers
    ]
    return ["labeler", "labels", *datasets], rows


def _correct(group: Judged) -> str:
    """Return the accuracy over seeds. For clusters it is the accuracy after renaming."""
    values = [quality.metrics.get("accuracy", quality.metrics["hungarian"]) for quality in group.found]
    if not values:
        return spelled(Gap())
    complete = len(group.found) == len(group.stages)
    return spelled(Measured.over(values, of=None if complete else len(group.stages)))


def details(groups: Sequence[Judged], dataset: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one dataset: all metrics, on the images that were not annotated."""
    rows = []
    for group in groups:
        if group.dataset == dataset:
            cells = quality_cells([quality.metrics for quality in group.found])
            rows.append([group.labeler, *map(spelled, cells), ", ".join(group.methods)])
    return ["labeler", *QUALITY_HEADER, "methods"], rows


def histogram(groups: Sequence[Judged], dataset: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one dataset: the images per label, as means over seeds. The truth is first.

    With more than 20 classes only the fewest, the median and the most images per label are shown.
    Both are empty if nothing is stored.
    """
    stored = [group for group in groups if group.dataset == dataset and group.found]
    if not stored:
        return [], []
    counts_by_name = {"truth": [stored[0].found[0].truth_per_class]}
    for group in stored:
        counts_by_name[group.labeler] = [quality.labels_per_class for quality in group.found]
    classes = len(counts_by_name["truth"][0])
    rows = []
    for name, counts in counts_by_name.items():
        if classes > MOST_CLASSES:
            ranked = [sorted(of_seed) for of_seed in counts]
            shown = [[of_seed[rank] for of_seed in ranked] for rank in (0, classes // 2, -1)]
        else:
            shown = [list(of_class) for of_class in zip(*counts, strict=True)]
        rows.append([name, *(f"{_mean(images):.0f}" for images in shown)])
    if classes > MOST_CLASSES:
        return ["images per label", "fewest", "median", "most"], rows
    return ["images per label", *map(str, range(classes))], rows


def _mean(values: Iterable[int]) -> float:
    return summarize(list(map(float, values))).mean
