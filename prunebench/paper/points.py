"""The numbers that claims are checked against: the paper's and ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from prunebench.paper import published
from prunebench.paper.comparison import hours, once, quality
from prunebench.results.board import by_seed
from prunebench.results.rows import Result

ANNOTATION = {"none": 0.0, "few": 0.1, "full": 1.0}  # label budget by label usage, in the paper's tables


@dataclass(frozen=True)
class Point:
    """One number, of the paper or of our rows.

    table: table of the paper, or "" for our rows.
    dataset: name of the dataset.
    method: name of the method.
    ratio: in percent pruned. None for label quality and cost.
    label_fraction: label budget of the labeler, a share of the images.
    seed: None for a printed number.
    measure: "accuracy", "hours", or a metric of label quality.
    value: in percent, or hours.
    """

    table: str
    dataset: str
    method: str
    ratio: int | None
    label_fraction: float
    seed: int | None
    measure: str
    value: float


@cache
def printed() -> Sequence[Point]:
    """Return the numbers of the paper."""
    points = []
    for line in published.lines():
        _, dataset, method, ratio = published.key(line)
        label_fraction = 0.1 if method.startswith("semi_") else 0.0
        match line:
            case published.PublishedAccuracy():
                measure, value = "accuracy", line.percent
                label_fraction = ANNOTATION[line.label_usage]
            case published.PublishedBudget() | published.PublishedAblation():
                measure, value = "accuracy", line.percent
            case published.PublishedQuality():
                measure, value = line.metric, line.percent
            case published.PublishedCost():
                measure, value = "hours", line.gpu_hours
            case _:
                continue
        points.append(Point(line.table, dataset, method, ratio, label_fraction, None, measure, value))
    return tuple(points)


def groups(rows: Iterable[Result]) -> dict[str, list[Result]]:
    """Split rows into comparable groups, by title: recipe, repeats, tuning and protocol.

    Of each dataset only the rows with the content hash of the first row are taken.
    """
    by_title: dict[str, list[Result]] = {}
    hashes: dict[str, str] = {}  # dataset -> content hash
    for row in rows:
        if hashes.setdefault(row.dataset, row.dataset_hash) == row.dataset_hash:
            recipe = " with ".join(filter(None, (row.recipe, ", ".join(row.recipe_changes))))
            title = f"recipe {recipe}, repeats {row.repeats}, tuning {row.tuning}"
            by_title.setdefault(f"{title}, protocol {row.protocol_version}", []).append(row)
    return by_title


def measured(rows: Iterable[Result]) -> list[Point]:
    """Return the numbers of comparable rows: accuracy of the last epoch, label quality, hours."""
    points = []
    by_method: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        by_method.setdefault((row.dataset, row.method), []).append(row)
    for (dataset, method), method_rows in by_method.items():
        for row in method_rows:
            point = Point(
                "", dataset, method, row.ratio, row.label_fraction, row.seed, "accuracy", row.accuracy
            )
            points.append(point)
        # Labels and their cost do not depend on the ratio: one row for each trained labeler.
        for row in once(by_seed(method_rows)):
            values = {}
            if row.quality:
                values["ACC"] = quality(row.quality, "ACC")
            if (spent := hours(row)) is not None:
                values["hours"] = spent
            for measure, value in values.items():
                points.append(Point("", dataset, method, None, row.label_fraction, row.seed, measure, value))
    return points
