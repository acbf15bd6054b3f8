"""The numbers that the SemiPrune paper prints, line by line, and the cell of ours to compare each line with.

The files are in benchmarks/published. Its README gives the source of each number. All shares are in percent.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prunebench.errors import PrunebenchError
from prunebench.suites.resources import read_toml, shipped

SUITES = {
    "domain": "paper_domain",
    "corruption": "paper_corruption",
    "long_tailed": "paper_long_tailed",
    "long_tailed_if_0.01": "paper_long_tailed",
    "standard": "paper_standard",
    "scorer_ablation": "scorer_ablation",
    "same_budget": "same_budget",
    "table1": "pseudo_labels",
    "appendixB": "pseudo_labels",
    "cost": "cost",
}  # table of the paper -> our suite with its cells
# Fields that do not say which cell a line is about.
MEASURED = {"percent", "cutoff", "paper_name", "backbone", "epochs", "gpus", "wall_hours", "gpu_hours"}
LABELERS = {"temi_dino": "elfs_dino", "fixmatch": "semi_aum", "swav": "elfs_swav"}  # labeler -> its method


class Key(NamedTuple):
    """The cell, label quality, tuned value or cost that a line is about, in our names.

    suite: name of our suite.
    dataset: name of the dataset.
    method: name of our method.
    ratio: in percent pruned. None for label quality and cost, which do not depend on it.
    """

    suite: str
    dataset: str
    method: str
    ratio: int | None


class Line(BaseModel):
    """One line of a file. The column names are the aliases of the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    dataset: str


class PublishedAccuracy(Line):
    """A line of tables 2 to 5, or of the appendix's table for imbalance factor 0.01.

    method: our name.
    paper_name: the paper's name.
    label_usage: labels needed before the selection. See `prunebench.results.board.GROUPS`.
    ratio: in percent pruned.
    percent: test accuracy.
    """

    method: str
    paper_name: str
    label_usage: Literal["none", "few", "full"]
    ratio: int = Field(ge=1, le=99, alias="pruning_ratio_percent")
    percent: float = Field(ge=0, le=100, alias="test_accuracy_percent")


class PublishedBudget(Line):
    """A line of appendix C.2: accuracy by label budget.

    budget: all labels, including the first 10 % for the labeler, in percent of the images.
    percent: test accuracy.
    """

    table: str = "same_budget"
    method: str
    budget: int = Field(ge=1, le=99, alias="annotation_budget_percent")
    percent: float = Field(ge=0, le=100, alias="test_accuracy_percent")


class PublishedAblation(Line):
    """A line of table 6: accuracy of double-end pruning with a score on a kind of labels.

    scorer: our name.
    labeler: our name.
    ratio: in percent pruned.
    percent: test accuracy.
    """

    table: str = "scorer_ablation"
    scorer: str
    labeler: str
    ratio: int = Field(ge=1, le=99, alias="pruning_ratio_percent")
    percent: float = Field(ge=0, le=100, alias="test_accuracy_percent")


class PublishedQuality(Line):
    """A line of table 1 or appendix B.1: the quality of pseudo-labels.

    labeler: our name.
    metric: accuracy, NMI or ARI. The paper does not define the accuracy that it prints in parentheses.
    percent: value of the metric.
    """

    table: str = Field(alias="source")
    labeler: str
    metric: Literal["ACC", "ACC_parenthesised", "NMI", "ARI"]
    percent: float = Field(ge=0, le=100)


class PublishedCutoff(Line):
    """A line of table 9: the cutoff of Semi-AUM at a ratio.

    ratio: in percent pruned.
    cutoff: share of the images cut at the hard end, in 0..1.
    reading: how the printed value is read.
    """

    table: str = "aum_cutoff"
    method: str
    ratio: int = Field(ge=1, le=99, alias="pruning_ratio_percent")
    cutoff: float = Field(ge=0, le=1, alias="cutoff_fraction")
    reading: Literal["as_printed", "as_printed_probably_from_the_easy_end", "read_from_the_hard_end"]


class PublishedCost(Line):
    """A line of appendix C.3: the cost of training for pseudo-labels, on RTX A6000 GPUs.

    labeler: our name.
    backbone: the paper's name.
    epochs: of training.
    gpus: number of GPUs.
    wall_hours: hours of training.
    gpu_hours: `wall_hours` times `gpus`.
    """

    table: str = "cost"
    labeler: str
    backbone: str
    epochs: int = Field(gt=0)
    gpus: int = Field(gt=0)
    wall_hours: float = Field(gt=0)
    gpu_hours: float = Field(gt=0)


class Note(BaseModel):
    """A remark on some lines of the paper's tables. A field that is not set matches every line.

    tables: names of tables.
    dataset: name of the dataset.
    method: our name.
    ratios: in percent pruned.
    metric: of label quality.
    text: the remark.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tables: list[str]
    dataset: str | None = None
    method: str | None = None
    ratios: list[int] = []
    metric: str | None = None
    text: str

    def concerns(self, line: Line) -> bool:
        """Whether the remark is on `line`."""
        _, dataset, method, ratio = key(line)
        return (
            line.table in self.tables
            and self.dataset in (None, dataset)
            and self.method in (None, method)
            and (not self.ratios or ratio in self.ratios)
            and self.metric in (None, getattr(line, "metric", ""))
        )


AnyLine = TypeVar("AnyLine", bound=Line)


def accuracies() -> Sequence[PublishedAccuracy]:
    """Return tables 2 to 5 and that for imbalance factor 0.01."""
    return _read("accuracy.csv", PublishedAccuracy)


def budgets() -> Sequence[PublishedBudget]:
    """Return the comparison at equal labels, appendix C.2."""
    return _read("same_budget.csv", PublishedBudget)


def ablations() -> Sequence[PublishedAblation]:
    """Return the scores on two kinds of labels, table 6."""
    return _read("scorer_ablation.csv", PublishedAblation)


def qualities() -> Sequence[PublishedQuality]:
    """Return the quality of pseudo-labels, table 1 and appendix B.1."""
    return _read("pseudo_label_quality.csv", PublishedQuality)


def cutoffs() -> Sequence[PublishedCutoff]:
    """Return the cutoffs of Semi-AUM, table 9, with both readings of the cutoffs of SUN397."""
    return _read("aum_cutoff.csv", PublishedCutoff)


def costs() -> Sequence[PublishedCost]:
    """Return the cost of pseudo-labels, appendix C.3."""
    return _read("labeler_cost_a6000.csv", PublishedCost)


def lines() -> list[Line]:
    """Return every line of every file."""
    return [*accuracies(), *budgets(), *ablations(), *qualities(), *cutoffs(), *costs()]


@cache
def notes() -> Sequence[Note]:
    """Return the remarks of benchmarks/published/notes.toml, in the order of the file."""
    path = "published/notes.toml"
    entries = read_toml(shipped() / path).get("note", [])
    return tuple(_checked(Note, values, f"{path}, note {n}") for n, values in enumerate(entries, 1))


def key(line: Line) -> Key:
    """Return the cell that `line` is about, in our names. Lines on label quality may share a key."""
    match line:
        case PublishedAccuracy():
            return Key(SUITES[line.table], line.dataset, line.method, line.ratio)
        case PublishedBudget():
            # A method of its own keeps all images that were labeled for the labeler.
            method = {"semi_aum": "semi_aum+annotated"}.get(line.method, line.method)
            return Key(SUITES[line.table], line.dataset, method, 100 - line.budget)
        case PublishedAblation():
            base = LABELERS[line.labeler]
            # AUM is the score of the methods themselves. Variants are named after their score.
            method = base if line.scorer == "aum" else f"{base.partition('_')[0]}_{line.scorer}"
            return Key(SUITES[line.table], line.dataset, method, line.ratio)
        case PublishedCutoff():
            tables = {accuracy.dataset: accuracy.table for accuracy in accuracies()}
            return Key(SUITES[tables[line.dataset]], line.dataset, line.method, line.ratio)
        case PublishedQuality() | PublishedCost():
            return Key(SUITES[line.table], line.dataset, LABELERS[line.labeler], None)
    raise TypeError(type(line))


@cache
def _read(name: str, form: type[AnyLine]) -> Sequence[AnyLine]:
    """Return the lines of a file. Raise PrunebenchError with the number of the first invalid line."""
    entries = parsed(name, form)
    seen: set[frozenset[tuple[str, object]]] = set()
    for number, line in enumerate(entries, FIRST):
        subject = frozenset((field, value) for field, value in line if field not in MEASURED)
        if subject in seen:
            raise PrunebenchError(f"published/{name}, line {number}: an earlier line is about the same cell")
        seen.add(subject)
    return entries


FIRST = 2  # the first line of a file that is not its header
Checked = TypeVar("Checked", bound=BaseModel)


def parsed(name: str, form: type[Checked]) -> Sequence[Checked]:
    """Return the lines of a file, checked one by one.

    Raise PrunebenchError with the number of the first invalid line.
    """
    path = f"published/{name}"
    with (shipped() / path).open(encoding="utf-8", newline="") as file:
        rows = enumerate(csv.DictReader(file), FIRST)
        return tuple(_checked(form, row, f"{path}, line {number}") for number, row in rows)


def _checked(form: type[Checked], values: object, position: str) -> Checked:
    """Return the values as a `form`. Raise PrunebenchError, with their position, if they are invalid."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise PrunebenchError(f"{position}: {field}: {first['msg']} (it is {first['input']!r})") from None
