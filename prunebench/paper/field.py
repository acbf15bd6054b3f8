"""The numbers that papers of the field print, each with its protocol and its source.

The files are in benchmarks/published. Its README says which papers could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from prunebench.errors import PrunebenchError
from prunebench.paper.published import FIRST, accuracies, parsed

SEMIPRUNE = "SemiPrune"  # its numbers are in accuracy.csv


def _said(value: Any) -> Any:
    """Return None for an empty field: the source does not say."""
    return None if value == "" else value


Count = Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(_said)]
Percent = Annotated[Decimal, Field(ge=0, le=100)]


class SourceTable(BaseModel):
    """Protocol and source of a table's numbers on a dataset. None or "": the source does not say.

    arxiv: id of the paper.
    table: number of the table, or the place that the numbers stand in.
    printed_by: the paper, or a reader who ran the authors' code.
    network: trained on the subsets.
    iterations: of one training, where these are equal for every subset and epochs are not.
    batch_size: with the pruned percentages at which it differs.
    epoch: whose accuracy is printed.
    runs: that a number is the mean of.
    read_in: what was read. text: of the paper, as a machine converted it. excerpt: a part of that.
    url: of what was read, or of the paper where a copy was read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: str = Field(min_length=1)
    arxiv: str = Field(pattern=r"^\d{4}\.\d{5}$")
    table: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    printed_by: Literal["paper", "reader"]
    metric: Literal["top-1", "top-5"]
    network: str
    epochs: Count
    iterations: Count
    batch_size: str
    epoch: Literal["last", "best", ""]
    runs: Count
    read_in: Literal["text", "excerpt", "abstract", "readme", "thread", "review"]
    url: str = Field(pattern=r"^https://\S+$")
    note: str


class FieldNumber(BaseModel):
    """One accuracy, in percent, with the digits that are printed.

    method: our name, or one of the README's where we have no such method.
    printed_name: the paper's name.
    printed_size: of the subset, in the paper's terms.
    ratio: in percent pruned. 0 for all images.
    spread: as printed; most papers do not say what it is.
    copied_from: the paper that measured the number, where this one says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: str
    table: str
    dataset: str
    method: str = Field(min_length=1)
    printed_name: str = Field(min_length=1)
    printed_size: str = Field(min_length=1)
    ratio: Decimal = Field(ge=0, lt=100, alias="pruning_ratio_percent")
    accuracy: Percent = Field(alias="accuracy_percent")
    spread: Annotated[Percent | None, BeforeValidator(_said)]
    copied_from: str
    note: str


class Cell(NamedTuple):
    """What a number is about."""

    dataset: str
    method: str
    ratio: Decimal
    metric: str


class Printed(NamedTuple):
    """A number and the table it stands in."""

    number: FieldNumber
    source: SourceTable

    @property
    def cell(self) -> Cell:
        """What the number is about."""
        number = self.number
        return Cell(number.dataset, number.method, number.ratio, self.source.metric)

    @property
    def measured_in(self) -> str:
        """The paper that measured the number."""
        return self.number.copied_from or self.number.paper


@cache
def sources() -> dict[tuple[str, str, str], SourceTable]:
    """Return the tables by paper, table and dataset. Raise PrunebenchError where one has two lines."""
    found: dict[tuple[str, str, str], SourceTable] = {}
    for number, line in enumerate(parsed("field_tables.csv", SourceTable), FIRST):
        key = (line.paper, line.table, line.dataset)
        if key in found:
            raise PrunebenchError(
                f"published/field_tables.csv, line {number}: an earlier line is about the same table"
            )
        found[key] = line
    return found


@cache
def printed() -> Sequence[Printed]:
    """Return all numbers: those of field.csv, then SemiPrune's.

    Raise PrunebenchError where a number has no source, or where a table prints a cell twice without a note.
    """
    found = []
    before: dict[tuple[str, str, Cell], FieldNumber] = {}
    for position, number in enumerate(parsed("field.csv", FieldNumber), FIRST):
        where = f"published/field.csv, line {position}"
        source = sources().get((number.paper, number.table, number.dataset))
        if source is None:
            raise PrunebenchError(
                f"{where}: no line of field_tables.csv says where {number.paper!r}, table {number.table!r}, "
                f"on {number.dataset!r} was read; add one"
            )
        one = Printed(number, source)
        earlier = before.setdefault((number.paper, number.table, one.cell), number)
        if earlier is not number and not (earlier.note and number.note):
            raise PrunebenchError(f"{where}: an earlier line is about the same cell; notes say what differs")
        found.append(one)
    return (*found, *_semiprune())


def _semiprune() -> list[Printed]:
    """Return the numbers of accuracy.csv. Their decimals are printed ones."""
    found = []
    for line in accuracies():
        number = FieldNumber(
            paper=SEMIPRUNE,
            table=line.table,
            dataset=line.dataset,
            method=line.method,
            printed_name=line.paper_name,
            printed_size=f"{line.ratio} % pruned",
            pruning_ratio_percent=Decimal(line.ratio),
            accuracy_percent=Decimal(f"{line.percent:.1f}"),
            spread=None,
            copied_from="",
            note="",
        )
        found.append(Printed(number, sources()[SEMIPRUNE, line.table, line.dataset]))
    return found


def shared() -> dict[Cell, list[Printed]]:
    """Return the cells that at least two papers measured, with what each of them prints, sorted by cell."""
    cells = _by_cell(one for one in printed() if one.source.printed_by == "paper")
    return {cell: prints for cell, prints in cells.items() if len({one.measured_in for one in prints}) > 1}


def rerun() -> dict[Cell, list[Printed]]:
    """Return the cells that readers ran again, with what papers print, sorted by cell."""
    again = {one.cell for one in printed() if one.source.printed_by == "reader"}
    papers = {one.number.paper for one in printed() if one.source.printed_by == "reader"}
    return _by_cell(one for one in printed() if one.cell in again and one.number.paper in papers)


def _by_cell(prints: Iterable[Printed]) -> dict[Cell, list[Printed]]:
    found: dict[Cell, list[Printed]] = {}
    for one in prints:
        found.setdefault(one.cell, []).append(one)
    return {cell: found[cell] for cell in sorted(found)}


def apart(prints: Sequence[Printed]) -> Decimal:
    """Return the gap between the lowest and the highest number, in points."""
    values = [one.number.accuracy for one in prints]
    return max(values) - min(values)


def agree(prints: Sequence[Printed]) -> bool:
    """Whether the numbers may be one number, rounded to the fewest decimals that are printed."""
    return apart(prints) <= max(_unit(one.number.accuracy) for one in prints) / 2


def _unit(value: Decimal) -> Decimal:
    """Return 1 of the last printed digit: 0.01 for 69.25."""
    _, _, decimals = f"{value}".partition(".")
    return Decimal(1).scaleb(-len(decimals))
