"""Sentences of the SemiPrune paper as predicates over numbers: its own, then ours.

A claim says what is better than what, on which datasets and ratios, and whether in every cell, somewhere or
on average. From our rows a cell counts where the 95 % t interval of the difference, paired by seed, excludes
zero; the paper prints no spread, so its numbers are compared as they are.
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
from prunebench.results.statistics import mean_interval, summarise
from prunebench.suites.resolve import MATCHED
from prunebench.suites.resources import read_toml, shipped

MEASURE = {"labels": "ACC", "cost": "hours"}  # every other kind is about accuracy
LEVEL = 0.95
Place = tuple[str, str, int | None]  # table, dataset, ratio
Values = dict[int | None, float]  # by seed; None for what is printed


class Claim(BaseModel):
    """One sentence. Of each list of methods the best counts, or, with `pairs`, each against its twin.

    kind: "better" compares accuracies; "labels" the share of pseudo-labels that are right; "cost" hours, of
    which fewer are better; "equal_labels" accuracies with that of Random on as many labels in all.
    annotation: compare at each of these shares of labels bought by the methods that buy some. view: how the
    names of datasets end that may stand in for the paper's. tables: where the paper prints the numbers.
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
    annotation: list[float] = []
    view: Literal["", "_c", "_lt"] = ""
    note: str = ""

    @model_validator(mode="after")
    def _twinned(self) -> Claim:
        if self.pairs and len(self.better) != len(self.than):
            raise ValueError("pairs = true needs as many methods in `than` as in `better`")
        return self


class ClaimFile(BaseModel):
    """What benchmarks/claims.toml may say. stand_in: methods to take for one that has no rows, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    claim: dict[str, Claim]
    stand_in: dict[str, list[str]] = {}


@dataclass(frozen=True)
class Cell:
    """Where two sides of a claim were compared, and by how much the first is better, by seed."""

    place: str
    gains: Mapping[int | None, float]

    @property
    def mean(self) -> float:
        """The mean gain, without the dust of binary fractions."""
        return round(summarise(list(self.gains.values())).mean, 6)

    def sign(self, level: float) -> int:
        """Return 1 or -1 for a gain or a loss at a confidence level, 0 where it cannot be told."""
        if None in self.gains:
            return (self.mean > 0) - (self.mean < 0)
        found = mean_interval(list(self.gains.values()), level)
        return 0 if found is None else (found[0] > 0) - (found[1] < 0)


@dataclass(frozen=True)
class Finding:
    """What numbers say about a claim. interval: of the mean gain over all cells, paired by seed.

    foreign: the datasets looked at in place of the paper's. missing: cells of the claim without numbers.
    absent: which methods had no numbers, and which stood in for others.
    """

    claim: Claim
    outcome: Literal["supported", "refuted", "undecided"]
    cells: Sequence[Cell]
    interval: tuple[float, float] | None
    missing: int = 0
    foreign: Sequence[str] = ()
    absent: Sequence[str] = ()

    @property
    def mean(self) -> float:
        """The mean gain over all cells."""
        return summarise([cell.mean for cell in self.cells]).mean

    @property
    def against(self) -> list[Cell]:
        """The cells with a loss, clear or not, the largest first."""
        return sorted((cell for cell in self.cells if cell.mean < 0), key=lambda cell: cell.mean)

    @property
    def verdict(self) -> str:
        """The outcome, with a word where the missing cells could still change it."""
        settled = ("every", "refuted"), ("some", "supported")
        open_ = (
            self.missing and self.outcome != "undecided" and (self.claim.where, self.outcome) not in settled
        )
        return f"{self.outcome} so far" if open_ else self.outcome

    @property
    def scale(self) -> str:
        """How many cells, and by how much."""
        if not self.cells:
            return "no numbers"
        above = sum(cell.mean > 0 for cell in self.cells)
        equal = sum(cell.mean == 0 for cell in self.cells)
        words = f"better in {above} of {len(self.cells)}" + (f", equal in {equal}" if equal else "")
        if not any(None in cell.gains for cell in self.cells):
            words += f", clearly in {sum(cell.sign(LEVEL) > 0 for cell in self.cells)}"
        words += f", {self.missing} without numbers" if self.missing else ""
        spread = (
            ""
            if self.interval is None
            else f" [{self.spell(self.interval[0])}, {self.spell(self.interval[1])}]"
        )
        unit = " hours" if self.claim.kind == "cost" else ""
        return f"{words}; mean {self.spell(self.mean)}{spread}{unit}"

    @property
    def remarks(self) -> list[str]:
        """What a reader of ours has to know: other datasets than the paper's, other methods."""
        other = [f"not the paper's datasets: {', '.join(self.foreign)}"] if self.foreign else []
        return [*other, *self.absent]

    def spell(self, gain: float) -> str:
        """Spell a gain: points to a tenth, hours to three digits."""
        return f"{gain:+.3g}" if self.claim.kind == "cost" else f"{round(gain, 1) + 0.0:+.1f}"


@cache
def claims() -> ClaimFile:
    """Return the claims of benchmarks/claims.toml by name; raise PrunebenchError where it is not valid."""
    try:
        return ClaimFile.model_validate(read_toml(shipped() / "claims.toml"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"])
        raise PrunebenchError(f"claims.toml: {where}: {first['msg']} (it is {first['input']!r})") from None


def examine(
    claim: Claim, points: Iterable[Point], stand_in: Mapping[str, list[str]] | None = None
) -> Finding:
    """Return what numbers of one origin, `printed` or `measured`, say about a claim.

    Datasets that are not the paper's are looked at where none of the claim's has numbers, and only there
    may `stand_in` name methods to take for others.
    """
    measure = MEASURE.get(claim.kind, "accuracy")
    about = [p for p in points if p.measure == measure and p.table in ("", *claim.tables)]
    there = dict.fromkeys(point.dataset for point in about)
    own = [dataset for dataset in claim.datasets if dataset in there]
    paper = {line.dataset for line in published.lines()}
    foreign = [dataset for dataset in there if dataset not in paper and dataset.endswith(claim.view)]
    sides = _Sides(claim, about, stand_in if stand_in and not own else {})
    cells = list(sides.cells(own or foreign))
    whole = _average(cells) if cells else None
    spread = whole is not None and None not in whole.gains
    return Finding(
        claim,
        judged(cells, claim.where),
        cells,
        mean_interval(list(whole.gains.values())) if whole and spread else None,
        missing=sides.missing if own else 0,
        foreign=foreign if cells and not own else (),
        absent=list(sides.remarks),
    )


class _Sides:
    """The two sides of a claim, place by place. remarks: who was absent, and who stood in, each once."""

    def __init__(self, claim: Claim, points: Iterable[Point], stand_in: Mapping[str, list[str]]) -> None:
        self.claim, self.stand_in = claim, stand_in
        self.sign = -1 if claim.kind == "cost" else 1  # of what is a gain
        self.remarks: dict[str, None] = {}
        self.met: set[tuple[object, ...]] = set()
        self.places: dict[Place, list[Point]] = {}
        for point in points:
            self.places.setdefault((point.table, point.dataset, point.ratio), []).append(point)

    def cells(self, datasets: Sequence[str]) -> Iterator[Cell]:
        """Yield every cell of these datasets where both sides have numbers."""
        claim = self.claim
        for dataset in datasets:
            tables = dict.fromkeys(table for table, name, _ in self.places if name == dataset)
            ratios = [None] if claim.kind in MEASURE else claim.ratios
            for place in ((table, dataset, ratio) for table in tables for ratio in ratios):
                for annotation in claim.annotation or (None,):
                    for number, (better, than) in enumerate(self._duels()):
                        if cell := self._cell(place, annotation, better, than):
                            self.met.add((*place[1:], annotation, number))
                            yield cell

    @property
    def missing(self) -> int:
        """How many cells of the claim were not met; 0 where the paper itself has not all of them."""
        claim = self.claim
        if claim.kind == "equal_labels":
            return 0
        ratios = 1 if claim.kind in MEASURE else len(claim.ratios)
        wanted = len(claim.datasets) * ratios * max(1, len(claim.annotation)) * len(self._duels())
        return wanted - len(self.met)

    def _duels(self) -> list[tuple[list[str], list[str]]]:
        """Return who is set against whom: the best of the lists, or one against one."""
        claim = self.claim
        if claim.kind == "equal_labels":
            return [([name], claim.than) for name in claim.better]
        if claim.pairs:
            return [([one], [other]) for one, other in zip(claim.better, claim.than, strict=True)]
        return [(claim.better, claim.than)]

    def _cell(
        self, place: Place, annotation: float | None, better: list[str], than: list[str]
    ) -> Cell | None:
        left = self._best(place, annotation, better)
        if self.claim.kind == "equal_labels":
            place_of_random, than = self._equal(place, better[0])
            right = self._best(place_of_random, annotation, than)
        else:
            right = self._best(place, annotation, than)
        if left is None or right is None:
            return None
        gains = {s: self.sign * (left.values[s] - right.values[s]) for s in left.values if s in right.values}
        if not gains:
            return None
        self.remarks |= dict.fromkeys([*left.remarks, *right.remarks])
        several = len(self.claim.better) > 1 or len(self.claim.than) > 1
        who = f" ({left.method}, {right.method})" if several else ""
        return Cell(_spelt(place, annotation) + who, gains)

    def _equal(self, place: Place, name: str) -> tuple[Place, list[str]]:
        """Return where Random with as many labels in all is to be found, and what it is called.

        The paper has no such row. Its Random at 10 points less pruned has at least as many labels: more, by
        as many as were kept of the images that had been paid for.
        """
        table, dataset, ratio = place
        if not table:
            return place, [f"{MATCHED}{{{name}}}"]
        return (table, dataset, (ratio or 0) - 10), self.claim.than

    def _best(self, place: Place, annotation: float | None, names: list[str]) -> _Side | None:
        """Return the method of the best mean among those that have numbers at a place."""
        found = [side for name in names if (side := self._side(place, annotation, name))]
        if not found:
            return None
        best = max(found, key=lambda side: self.sign * summarise(list(side.values.values())).mean)
        absent = [f"without {name}" for name in names if name not in {side.asked for side in found}]
        return replace(best, remarks=[*absent, *(remark for side in found for remark in side.remarks)])

    def _side(self, place: Place, annotation: float | None, name: str) -> _Side | None:
        """Return the numbers of a method, or of the first that may stand in for it and has some.

        annotation: the share of labels that whoever buys some has to buy; a method of this share may be
        called NAME_... or NAME{...}.
        """
        points = self.places.get(place, [])
        if annotation is not None:
            points = [point for point in points if point.annotation in (0, annotation)]
        there = dict.fromkeys(point.method for point in points)
        for wanted in (name, *self.stand_in.get(name, ())):
            variants = [m for m in there if annotation and re.match(rf"{re.escape(wanted)}[_{{]", m)]
            if chosen := next((m for m in (wanted, *variants) if m in there), None):
                values = {point.seed: point.value for point in points if point.method == chosen}
                return _Side(name, chosen, values, [f"{wanted} in place of {name}"] * (wanted != name))
        return None


@dataclass(frozen=True)
class _Side:
    """The method that a claim asked for, the one that was taken, and its numbers by seed."""

    asked: str
    method: str
    values: Values
    remarks: Sequence[str]


def _spelt(place: Place, annotation: float | None) -> str:
    table, dataset, ratio = place
    if ratio is None:
        where = {"table1": ", table 1", "appendixB": ", appendix B.1"}.get(table, "")
        return f"{dataset}{where}"
    return f"{dataset} {ratio} %" + (f" with {annotation:.0%} labels" if annotation else "")


def judged(cells: Sequence[Cell], where: str) -> Literal["supported", "refuted", "undecided"]:
    """Return the outcome of a claim about every cell, some cell, or their average.

    That one cell decides, for "some" or against "every", takes 95 % over all cells together (Bonferroni):
    among twenty, one would be outside by chance.
    """
    if not cells:
        return "undecided"
    if where == "average":
        whole = _average(cells)
        signs = {whole.sign(LEVEL)} if whole else {0}
        return "supported" if signs == {1} else "refuted" if signs == {-1} else "undecided"
    alone = 1 - (1 - LEVEL) / len(cells)
    all_up, all_down = (all(cell.sign(LEVEL) == s for cell in cells) for s in (1, -1))
    some_up, some_down = (any(cell.sign(alone) == s for cell in cells) for s in (1, -1))
    up, down = (all_up, some_down) if where == "every" else (some_up, all_down)
    return "supported" if up else "refuted" if down else "undecided"


def _average(cells: Sequence[Cell]) -> Cell | None:
    """Return the mean gain over cells, by the seeds that all of them have; None without any."""
    seeds = set.intersection(*(set(cell.gains) for cell in cells))
    found = {seed: summarise([cell.gains[seed] for cell in cells]).mean for seed in seeds}
    return Cell("average", found) if found else None
