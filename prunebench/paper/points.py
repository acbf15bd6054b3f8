"""The numbers that claims are put to: the paper's, and ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from prunebench.paper import published
from prunebench.paper.comparison import COST_STAGE, once, quality
from prunebench.results.board import by_seed
from prunebench.results.rows import Result

ANNOTATION = {"none": 0.0, "few": 0.1, "full": 1.0}  # of the paper's tables


@dataclass(frozen=True)
class Point:
    """One number: of the paper, with no seed, or of a row of ours. table: empty for ours."""

    table: str
    dataset: str
    method: str
    ratio: int | None
    annotation: float
    seed: int | None
    measure: str
    value: float


@cache
def printed() -> Sequence[Point]:
    """Return the numbers of the paper."""
    found = []
    for line in published.lines():
        _, dataset, method, ratio = published.key(line)
        match line:
            case published.PublishedAccuracy():
                measure, value, annotation = "accuracy", line.percent, ANNOTATION[line.label_usage]
            case published.PublishedBudget() | published.PublishedAblation():
                measure, value, annotation = "accuracy", line.percent, 0.1 * method.startswith("semi_")
            case published.PublishedQuality():
                measure, value, annotation = line.metric, line.percent, 0.1 * method.startswith("semi_")
            case published.PublishedCost():
                measure, value, annotation = "hours", line.gpu_hours, 0.1 * method.startswith("semi_")
            case _:
                continue
        found.append(Point(line.table, dataset, method, ratio, annotation, None, measure, value))
    return tuple(found)


def groups(rows: Iterable[Result]) -> dict[str, list[Result]]:
    """Split rows into those that may be compared, by recipe, repeats, tuning and protocol, with a title."""
    found: dict[str, list[Result]] = {}
    copies: dict[str, str] = {}
    for row in rows:
        if copies.setdefault(row.dataset, row.dataset_hash) == row.dataset_hash:
            title = f"recipe {row.recipe}, repeats {row.repeats}, tuning {row.tuning}"
            found.setdefault(f"{title}, protocol {row.protocol_version}", []).append(row)
    return found


def measured(rows: Iterable[Result]) -> list[Point]:
    """Return the numbers of comparable rows: accuracies of the last epoch, labels, hours."""
    found, methods = [], dict[tuple[str, str], list[Result]]()
    for row in rows:
        methods.setdefault((row.dataset, row.method), []).append(row)
    for (dataset, method), own in methods.items():
        for row in own:
            point = Point("", dataset, method, row.ratio, row.annotation, row.seed, "accuracy", row.accuracy)
            found.append(point)
        for row in once(by_seed(own)):
            other = {"ACC": quality(row.quality, "ACC")} if row.quality else {}
            if (stage := COST_STAGE.get(method)) in row.seconds:
                other["hours"] = row.seconds[stage] / 3600
            for measure, value in other.items():
                found.append(Point("", dataset, method, None, row.annotation, row.seed, measure, value))
    return found
