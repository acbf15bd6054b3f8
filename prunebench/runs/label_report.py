"""How good labelers are, side by side: from the quality stages of a matrix that are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from prunebench.errors import MissingArtefactError
from prunebench.parts.artefacts import Quality
from prunebench.parts.identity import placeless
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.results.cells import Gap, Measured
from prunebench.results.record import title
from prunebench.results.spelling import GAP, spelled
from prunebench.results.statistics import summarise
from prunebench.results.tables import QUALITY_HEADER, quality_cells
from prunebench.system.sealed_json import canonical

MOST_CLASSES = 20  # whose images are counted one by one


@dataclass
class Judged:
    """A labeler on a dataset: who uses it, its quality stages by seed, and what is stored of them."""

    labeler: str
    dataset: str
    annotation: float
    methods: list[str] = field(default_factory=list)
    stages: dict[int, Stage] = field(default_factory=dict)
    found: list[Quality] = field(default_factory=list)


def judged(matrix: Matrix) -> list[Judged]:
    """Return every labeler of a matrix that guesses, on every dataset, with what is stored."""
    groups: dict[tuple[str, str], Judged] = {}
    for cell, stage in matrix.graph.qualities.items():
        labeler = cell.method.labeler
        if stage is None or labeler is None:
            continue
        meaning = canonical(placeless(stage.sources[0].identity["part"]))
        group = groups.setdefault(
            (cell.dataset.name, meaning), Judged(title(labeler), cell.dataset.name, labeler.annotation)
        )
        if cell.method.name not in group.methods:
            group.methods.append(cell.method.name)
        if cell.seed not in group.stages:
            group.stages[cell.seed] = stage
            with suppress(MissingArtefactError):  # counts as a seed that is not there
                group.found.append(matrix.store.read(stage.key, Quality))
    return list(groups.values())


def overview(groups: Sequence[Judged]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table labelers x datasets: percent of all images labelled right."""
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    labelers = list(dict.fromkeys((group.labeler, group.annotation) for group in groups))
    cells = {(group.labeler, group.annotation, group.dataset): _right(group) for group in groups}
    rows = [
        [name, f"{share:.0%}", *(cells.get((name, share, dataset), GAP) for dataset in datasets)]
        for name, share in labelers
    ]
    return ["labeler", "labels", *datasets], rows


def _right(group: Judged) -> str:
    metrics = [quality.metrics for quality in group.found]
    values = [found.get("accuracy", found["hungarian"]) for found in metrics]
    wanted = None if len(group.found) == len(group.stages) else len(group.stages)
    return spelled(Measured.over(values, of=wanted) if values else Gap())


def details(groups: Sequence[Judged], dataset: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one dataset: every measure, on the images that were not paid for."""
    rows = []
    for group in groups:
        if group.dataset == dataset:
            cells = quality_cells([quality.metrics for quality in group.found])
            rows.append([group.labeler, *map(spelled, cells), ", ".join(group.methods)])
    return ["labeler", *QUALITY_HEADER, "methods"], rows


def histogram(groups: Sequence[Judged], dataset: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one dataset: images per label, means over seeds, the truth first.

    Of more than 20 classes the fewest, the median and the most.
    """
    own = [group for group in groups if group.dataset == dataset and group.found]
    if not own:
        return [], []
    counted = {"truth": [own[0].found[0].truth_per_class]}
    counted |= {group.labeler: [quality.labels_per_class for quality in group.found] for group in own}
    classes = len(counted["truth"][0])
    if classes > MOST_CLASSES:
        rows = [
            [name, *(f"{_mean(sorted(c)[place] for c in counts):.0f}" for place in (0, classes // 2, -1))]
            for name, counts in counted.items()
        ]
        return ["images per label", "fewest", "median", "most"], rows
    rows = [
        [name, *(f"{_mean(count):.0f}" for count in zip(*counts, strict=True))]
        for name, counts in counted.items()
    ]
    return ["images per label", *map(str, range(classes))], rows


def _mean(values: Iterable[int]) -> float:
    return summarise(list(map(float, values))).mean
