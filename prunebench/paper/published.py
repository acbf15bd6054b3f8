"""What the SemiPrune paper prints, line by line, and the cell of ours that each line stands beside.

The files are in benchmarks/published, whose README says where each number is from. Percent throughout.
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
}  # the suite of ours that has the cells of a table
MEASURED = {"percent", "cutoff", "paper_name", "backbone", "epochs", "gpus", "wall_hours", "gpu_hours"}
LABELERS = {"temi_dino": "elfs_dino", "fixmatch": "semi_aum", "swav": "elfs_swav"}  # a method that uses it


class Key(NamedTuple):
    """The cell, label row, tuned value or cost row that a line is about, in our names.

    ratio: None for what does not depend on it, labels and cost.
    """

    suite: str
    dataset: str
    method: str
    ratio: int | None


class Line(BaseModel):
    """One line of a file. The names of its columns are the aliases of the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    dataset: str


class PublishedAccuracy(Line):
    """Tables 2 to 5 and the appendix's for imbalance factor 0.01. label_usage: see leaderboard.GROUPS."""

    method: str
    paper_name: str
    label_usage: Literal["none", "few", "full"]
    ratio: int = Field(ge=1, le=99, alias="pruning_ratio_percent")
    percent: float = Field(ge=0, le=100, alias="test_accuracy_percent")


class PublishedBudget(Line):
    """Appendix C.2: accuracy by all labels bought, the first 10 % included. budget: percent of the images."""

    table: str = "same_budget"
    method: str
    budget: int = Field(ge=1, le=99, alias="annotation_budget_percent")
    percent: float = Field(ge=0, le=100, alias="test_accuracy_percent")


class PublishedAblation(Line):
    """Table 6: accuracy of double-end pruning with each score on each kind of labels."""

    table: str = "scorer_ablation"
    scorer: str
    labeler: str
    ratio: int = Field(ge=1, le=99, alias="pruning_ratio_percent")
    percent: float = Field(ge=0, le=100, alias="test_accuracy_percent")


class PublishedQuality(Line):
    """Table 1 and appendix B.1: how good labels are. What ACC_parenthesised is, the paper does not say."""

    table: str = Field(alias="source")
    labeler: str
    metric: Literal["ACC", "ACC_parenthesised", "NMI", "ARI"]
    percent: float = Field(ge=0, le=100)


class PublishedCutoff(Line):
    """Table 9: the share of the images cut at the hard end, by Semi-AUM, at a ratio."""

    table: str = "aum_cutoff"
    method: str
    ratio: int = Field(ge=1, le=99, alias="pruning_ratio_percent")
    cutoff: float = Field(ge=0, le=1, alias="cutoff_fraction")
    reading: Literal["as_printed", "as_printed_probably_from_the_easy_end", "read_from_the_hard_end"]


class PublishedCost(Line):
    """Appendix C.3: what training on the dataset for its pseudo-labels took, on RTX A6000 GPUs."""

    table: str = "cost"
    labeler: str
    backbone: str
    epochs: int = Field(gt=0)
    gpus: int = Field(gt=0)
    wall_hours: float = Field(gt=0)
    gpu_hours: float = Field(gt=0)


class Note(BaseModel):
    """A remark on the lines of tables: those of a dataset, a method, ratios and a metric, where given."""

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
    """Return the cutoffs of Semi-AUM, table 9; both readings of those of SUN397."""
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
    place = "published/notes.toml"
    found = read_toml(shipped() / place).get("note", [])
    return tuple(_checked(Note, values, f"{place}, note {n}") for n, values in enumerate(found, 1))


def key(line: Line) -> Key:
    """Return what `line` is about, in our names; several lines may be about one label row."""
    match line:
        case PublishedAccuracy():
            return Key(SUITES[line.table], line.dataset, line.method, line.ratio)
        case PublishedBudget():
            # The images bought for the labeler are kept, which is a method of its own.
            kept = {"semi_aum": "semi_aum+known"}.get(line.method, line.method)
            return Key(SUITES[line.table], line.dataset, kept, 100 - line.budget)
        case PublishedAblation():
            base = LABELERS[line.labeler]
            # AUM is the score of the methods themselves; the suite names the others after theirs.
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
    """Return the lines of a file; raise PrunebenchError naming the first that is not as it should be."""
    place = f"published/{name}"
    with (shipped() / place).open(encoding="utf-8", newline="") as file:
        found = [_checked(form, row, f"{place}, line {n}") for n, row in enumerate(csv.DictReader(file), 2)]
    seen: set[frozenset[tuple[str, object]]] = set()
    for number, line in enumerate(found, 2):
        what = frozenset((field, value) for field, value in line if field not in MEASURED)
        if what in seen:
            raise PrunebenchError(f"{place}, line {number}: a line before is about the same")
        seen.add(what)
    return tuple(found)


Checked = TypeVar("Checked", bound=BaseModel)


def _checked(form: type[Checked], values: object, where: str) -> Checked:
    try:
        return form.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"])
        raise PrunebenchError(f"{where}: {what}: {first['msg']} (it is {first['input']!r})") from None
