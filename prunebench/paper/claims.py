"""Sentences of the SemiPrune paper as predicates over numbers: the paper's, then ours.

A claim says that some methods are better than others. It names the datasets and ratios. It holds in every
cell, in some cell, or on average.

Our rows have seeds. A cell counts if the 95 % t interval of the difference, paired by seed, excludes zero.
The paper prints no spread, so its numbers are compared as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from prunebench.errors import PrunebenchError
from prunebench.paper import published
from prunebench.paper.points import Point
from prunebench.parts.base import STANDARD_RATIOS
from prunebench.results.statistics import mean_interval, summarize
from prunebench.suites.resolve import MATCHED
from prunebench.suites.resources import read_toml, shipped

MEASURE = {"labels": "ACC", "cost": "hours"}  # by kind of claim; every other kind compares accuracies
LEVEL = 0.95  # confidence level
Outcome = Literal["supported", "refuted", "undecided"]
Setting = tuple[str, str, int | None]  # table, dataset, ratio
Values = dict[int | None, float]  # by seed; None for a printed number


class Claim(BaseModel):
    """One sentence of the paper.

    sentence: in our words.
    section: of the paper.
    kind: "better" compares accuracies. "labels" compares the share of correct pseudo-labels. "cost" compares
        hours, fewer being better. "equal_labels" compares accuracies with Random on as many labels in all.
    better: methods claimed to be better. The best of them counts.
    than: methods claimed to be worse. The best of them counts.
    pairs: compare each method of `better` with its partner in `than` instead.
    where: whether the claim holds in "every" cell, on "average", or in "some" cell.
    tables: tables of the paper that print the numbers.
    datasets: names of datasets.
    ratios: in percent pruned.
    label_fraction: label budgets of the methods that need some labels. The claim is checked at each of them.
    view: suffix of the names of datasets that may stand in for the paper's.
    note: a remark, or "".
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sentence: str
    section: str
    kind: Literal["better", "labels", "cost", "equal_labels"] = "better"
    better: list[str]
    than: list[str]
    pairs: bool = False
    where: Literal["every", "average", "some"] = "every"
    tables: list[str]
    datasets: list[str]
    ratios: list[int] = list(STANDARD_RATIOS)
    label_fraction: list[float] = []
    view: Literal["", "_c", "_lt"] = ""
    note: str = ""

    @model_validator(mode="after")
    def _twinned(self) -> Claim:
        if self.pairs and len(self.better) != len(self.than):
            raise ValueError("pairs = true needs as many methods in `than` as in `better`")
        return self


class ClaimFile(BaseModel):
    """The schema of benchmarks/claims.toml.

    claim: the claims, by name.
    stand_in: for a method without rows, its substitutes in order of preference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    claim: dict[str, Claim]
    stand_in: dict[str, list[str]] = {}


@dataclass(frozen=True)
class Cell:
    """One comparison of the two sides of a claim.

    place: dataset, ratio and methods, as text.
    gains: how much better the first side is, by seed.
    """

    place: str
    gains: Mapping[int | None, float]

    @property
    def mean(self) -> float:
        """The mean gain, rounded so that equal printed numbers give exactly 0."""
        return round(summarize(list(self.gains.values())).mean, 6)

    def sign(self, level: float) -> int:
        """Return 1 for a gain, -1 for a loss, or 0 if undecided, at a confidence level."""
        if None in self.gains:
            low = high = self.mean  # a printed number has no spread
        elif interval := mean_interval(list(self.gains.values()), level):
            low, high = interval
        else:
            return 0
        if low > 0:
            return 1
        return -1 if high < 0 else 0


@dataclass(frozen=True)
class Finding:
    """The verdict of some numbers on a claim.

    claim: the claim.
    outcome: "supported", "refuted" or "undecided".
    cells: the comparisons made.
    interval: of the mean gain over all cells, paired by seed. None for printed numbers and where no spread is
        known.
    missing: number of cells of the claim without numbers.
    foreign: datasets compared in place of the paper's.
    absent: remarks on methods without numbers and on their substitutes.
    """

    claim: Claim
    outcome: Outcome
    cells: Sequence[Cell]
    interval: tuple[float, float] | None
    missing: int = 0
    foreign: Sequence[str] = ()
    absent: Sequence[str] = ()

    @property
    def mean(self) -> float:
        """The mean gain over all cells."""
        return summarize([cell.mean for cell in self.cells]).mean

    @property
    def against(self) -> list[Cell]:
        """The cells with a loss, clear or not, the largest loss first."""
        return sorted((cell for cell in self.cells if cell.mean < 0), key=lambda cell: cell.mean)

    @property
    def verdict(self) -> str:
        """The outcome, with "so far" if missing cells could still change it."""
        if not self.missing or self.outcome == "undecided":
            return self.outcome
        # One cell is enough against "every", and for "some".
        if (self.claim.where, self.outcome) in (("every", "refuted"), ("some", "supported")):
            return self.outcome
        return f"{self.outcome} so far"

    @property
    def scale(self) -> str:
        """The number of better cells and the mean gain, as text."""
        if not self.cells:
            return "no numbers"
        above = sum(cell.mean > 0 for cell in self.cells)
        equal = sum(cell.mean == 0 for cell in self.cells)
        words = f"better in {above} of {len(self.cells)}"
        if equal:
            words += f", equal in {equal}"
        if not any(None in cell.gains for cell in self.cells):
            words += f", clearly in {sum(cell.sign(LEVEL) > 0 for cell in self.cells)}"
        if self.missing:
            words += f", {self.missing} without numbers"
        words += f"; mean {self.spell(self.mean)}"
        if self.interval is not None:
            low, high = self.interval
            words += f" [{self.spell(low)}, {self.spell(high)}]"
        if self.claim.kind == "cost":
            words += " hours"
        return words

    @property
    def remarks(self) -> list[str]:
        """Deviations from the paper, a line each: other datasets, absent methods, substitutes."""
        remarks = list(self.absent)
        if self.foreign:
            remarks.insert(0, f"not the paper's datasets: {', '.join(self.foreign)}")
        return remarks

    def spell(self, gain: float) -> str:
        """Return a gain as text: points to a tenth, hours to three digits."""
        if self.claim.kind == "cost":
            return f"{gain:+.3g}"
        return f"{round(gain, 1) + 0.0:+.1f}"  # + 0.0 turns -0.0 into 0.0


@cache
def claims() -> ClaimFile:
    """Return the claims of benchmarks/claims.toml. Raise PrunebenchError if the file is not valid."""
    try:
        return ClaimFile.model_validate(read_toml(shipped() / "claims.toml"))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(key) for key in first["loc"])
        raise PrunebenchError(f"claims.toml: {field}: {first['msg']} (it is {first['input']!r})") from None


def examine(
    claim: Claim, points: Iterable[Point], stand_in: Mapping[str, list[str]] | None = None
) -> Finding:
    """Return the verdict of some numbers on a claim.

    If none of the claim's datasets has numbers, datasets that are not the paper's are compared instead. Only
    then are substitutes for methods allowed.

    claim: the claim.
    points: numbers of one origin, from `printed` or `measured`.
    stand_in: substitutes for methods without rows, in order of preference.
    """
    measure = MEASURE.get(claim.kind, "accuracy")
    relevant = [p for p in points if p.measure == measure and p.table in ("", *claim.tables)]
    measured_datasets = dict.fromkeys(point.dataset for point in relevant)
    in_claim = [dataset for dataset in claim.datasets if dataset in measured_datasets]
    in_paper = {line.dataset for line in published.lines()}
    foreign = [name for name in measured_datasets if name not in in_paper and name.endswith(claim.view)]
    sides = _Sides(claim, relevant, stand_in if stand_in and not in_claim else {})
    cells = list(sides.cells(in_claim or foreign))
    average = _average(cells) if cells else None
    interval = None
    if average and None not in average.gains:
        interval = mean_interval(list(average.gains.values()))
    return Finding(
        claim,
        judged(cells, claim.where),
        cells,
        interval,
        missing=sides.missing if in_claim else 0,
        foreign=foreign if cells and not in_claim else (),
        absent=list(sides.remarks),
    )


class _Sides:
    """The two sides of a claim, setting by setting.

    sign: 1 if higher is better, -1 if lower is better.
    remarks: on absent methods and substitutes, each once, in order.
    compared: dataset, ratio, label budget and number of the pair, of every cell yielded so far.
    settings: the numbers, by table, dataset and ratio.
    """

    def __init__(self, claim: Claim, points: Iterable[Point], stand_in: Mapping[str, list[str]]) -> None:
        self.claim = claim
        self.stand_in = stand_in
        self.sign = -1 if claim.kind == "cost" else 1
        self.remarks: dict[str, None] = {}
        self.compared: set[tuple[object, ...]] = set()
        self.settings: dict[Setting, list[Point]] = {}
        for point in points:
            self.settings.setdefault((point.table, point.dataset, point.ratio), []).append(point)

    def cells(self, datasets: Sequence[str]) -> Iterator[Cell]:
        """Yield every cell of these datasets in which both sides have numbers."""
        claim = self.claim
        ratios = [None] if claim.kind in MEASURE else claim.ratios
        for dataset in datasets:
            tables = dict.fromkeys(table for table, name, _ in self.settings if name == dataset)
            for setting in ((table, dataset, ratio) for table in tables for ratio in ratios):
                for label_fraction in claim.label_fraction or (None,):
                    for number, (better, than) in enumerate(self._pairs()):
                        if cell := self._cell(setting, label_fraction, better, than):
                            self.compared.add((*setting[1:], label_fraction, number))
                            yield cell

    @property
    def missing(self) -> int:
        """The number of cells of the claim that lack numbers. 0 for "equal_labels".

        The paper itself lacks some cells of a claim about equal labels.
        """
        claim = self.claim
        if claim.kind == "equal_labels":
            return 0
        ratios = 1 if claim.kind in MEASURE else len(claim.ratios)
        cells = len(claim.datasets) * ratios * max(1, len(claim.label_fraction)) * len(self._pairs())
        return cells - len(self.compared)

    def _pairs(self) -> list[tuple[list[str], list[str]]]:
        """Return the pairs of sides to compare, each side a list of methods of which the best counts."""
        claim = self.claim
        if claim.kind == "equal_labels":
            return [([name], claim.than) for name in claim.better]
        if claim.pairs:
            return [([left], [right]) for left, right in zip(claim.better, claim.than, strict=True)]
        return [(claim.better, claim.than)]

    def _cell(
        self, setting: Setting, label_fraction: float | None, better: list[str], than: list[str]
    ) -> Cell | None:
        left = self._best(setting, label_fraction, better)
        if self.claim.kind == "equal_labels":
            random_setting, random_names = self._random_with_equal_labels(setting, better[0])
            right = self._best(random_setting, label_fraction, random_names)
        else:
            right = self._best(setting, label_fraction, than)
        if left is None or right is None:
            return None
        gains = {}
        for seed, value in left.values.items():
            if seed in right.values:
                gains[seed] = self.sign * (value - right.values[seed])
        if not gains:
            return None
        self.remarks |= dict.fromkeys([*left.remarks, *right.remarks])
        place = _describe(setting, label_fraction)
        if len(self.claim.better) > 1 or len(self.claim.than) > 1:
            place += f" ({left.method}, {right.method})"
        return Cell(place, gains)

    def _random_with_equal_labels(self, setting: Setting, name: str) -> tuple[Setting, list[str]]:
        """Return the setting and the names of Random with as many labels in all as a method.

        The paper has no such row. Its Random at a ratio 10 points lower has at least as many labels. It has
        more if the method keeps some of the images that its labeler was trained on.
        """
        table, dataset, ratio = setting
        if not table:
            return setting, [f"{MATCHED}{{{name}}}"]
        return (table, dataset, (ratio or 0) - 10), self.claim.than

    def _best(self, setting: Setting, label_fraction: float | None, names: list[str]) -> _Side | None:
        """Return the side of the best mean, or None if no method has numbers in the setting."""
        sides = [side for name in names if (side := self._side(setting, label_fraction, name))]
        if not sides:
            return None
        best = max(sides, key=lambda side: self.sign * summarize(list(side.values.values())).mean)
        present = {side.asked for side in sides}
        remarks = [f"without {name}" for name in names if name not in present]
        for side in sides:
            remarks.extend(side.remarks)
        return replace(best, remarks=remarks)

    def _side(self, setting: Setting, label_fraction: float | None, name: str) -> _Side | None:
        """Return the numbers of a method, or of its first substitute that has numbers, or None.

        label_fraction: label budget of the methods that need some labels, or None for any. A method with this
            budget may be called NAME_ and a number, or NAME{...}.
        """
        points = self.settings.get(setting, [])
        if label_fraction is not None:
            points = [point for point in points if point.label_fraction in (0, label_fraction)]
        methods = dict.fromkeys(point.method for point in points)
        for candidate in (name, *self.stand_in.get(name, ())):
            chosen = _method_or_variant(candidate, methods, with_variants=bool(label_fraction))
            if chosen is not None:
                values = {point.seed: point.value for point in points if point.method == chosen}
                remarks = [] if candidate == name else [f"{candidate} in place of {name}"]
                return _Side(name, chosen, values, remarks)
        return None


@dataclass(frozen=True)
class _Side:
    """The numbers of one side.

    asked: the method of the claim.
    method: the method or substitute with the numbers.
    values: by seed.
    remarks: on absent methods and substitutes.
    """

    asked: str
    method: str
    values: Values
    remarks: Sequence[str]


def _method_or_variant(name: str, methods: Iterable[str], with_variants: bool) -> str | None:
    """Return `name` if it is among the methods, else the first NAME_5 or NAME{...}, else None."""
    if name in methods:
        return name
    if with_variants:
        for method in methods:
            if re.match(rf"{re.escape(name)}(_\d|{{)", method):
                return method
    return None


def _describe(setting: Setting, label_fraction: float | None) -> str:
    table, dataset, ratio = setting
    if ratio is None:
        return dataset + {"table1": ", table 1", "appendixB": ", appendix B.1"}.get(table, "")
    return f"{dataset} {ratio} %" + (f" with {label_fraction:.0%} labels" if label_fraction else "")


def judged(cells: Sequence[Cell], where: str) -> Outcome:
    """Return the outcome of a claim about every cell, some cell, or their average.

    A single cell can refute "every" or support "some". It then needs 95 % confidence over all cells together
    (Bonferroni), because among twenty cells one is outside its interval by chance.

    where: "every", "average" or "some".
    """
    if not cells:
        return "undecided"
    if where == "average":
        average = _average(cells)
        sign = average.sign(LEVEL) if average else 0
        supported = sign == 1
        refuted = sign == -1
    else:
        corrected = 1 - (1 - LEVEL) / len(cells)
        if where == "every":
            supported = all(cell.sign(LEVEL) == 1 for cell in cells)
            refuted = any(cell.sign(corrected) == -1 for cell in cells)
        else:
            supported = any(cell.sign(corrected) == 1 for cell in cells)
            refuted = all(cell.sign(LEVEL) == -1 for cell in cells)
    if supported:
        return "supported"
    return "refuted" if refuted else "undecided"


def _average(cells: Sequence[Cell]) -> Cell | None:
    """Return the mean gain over cells, for the seeds that all of them have. None if there is no such seed."""
    seeds = set.intersection(*(set(cell.gains) for cell in cells))
    means = {seed: summarize([cell.gains[seed] for cell in cells]).mean for seed in seeds}
    return Cell("average", means) if means else None
