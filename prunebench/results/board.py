"""What may share a table: the rows of a suite, and those of one dataset under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from prunebench.results.agreement import disputed
from prunebench.results.cells import Gap, Measured, Table
from prunebench.results.rows import Failure, Record, Result

GROUPS = {"none": "no labels", "few": "few labels", "full": "all labels"}


@dataclass(frozen=True)
class Page:
    """What a page is made from: its suite's words, its rows, and what a complete table would hold.

    failures: of cells that have no row. current: the method_key that follows from the suite today, by
    (method, dataset, recipe, tuning), or None where that is unknown; rows of another key are stale.
    titles: of datasets, by name, where these are not their names. providers: what makes further tables of a
    board, such as the numbers that a paper prints beside ours. verified: the ids of rows that somebody made
    again, with the same result.
    """

    suite: str
    title: str
    note: str
    ratios: Sequence[int]
    seeds: Sequence[int]
    rows: Sequence[Result]
    failures: Sequence[Failure] = ()
    current: Mapping[tuple[str, str, str, str], str | None] = field(default_factory=dict)
    complaints: Sequence[str] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    providers: Sequence[Callable[[Board], Sequence[Table]]] = ()
    verified: frozenset[str] = frozenset()

    @cached_property
    def disputed(self) -> set[tuple[object, ...]]:
        """The cells whose rows of one machine do not agree. Tables flag them, and remarks show all values."""
        return disputed(self.rows)

    @cached_property
    def elsewhere(self) -> list[tuple[Result, Result]]:
        """Pairs of the row that is shown for a cell and a row of another machine."""
        shown: dict[tuple[object, ...], Result] = {}
        pairs = [(shown.setdefault(row.cell, row), row) for row in self.rows if not self.stale(row)]
        return [(first, row) for first, row in pairs if first.machine != row.machine]

    def stale(self, row: Record) -> bool:
        """Whether a row was made with other settings than the suite has today."""
        expected = self.current.get((row.method, row.dataset, row.recipe, row.tuning))
        return expected is not None and expected != row.method_key


@dataclass(frozen=True)
class Board:
    """The rows of one dataset under one recipe, repeats, tuning and protocol: what may share a table."""

    page: Page
    rows: list[Result]

    @property
    def heading(self) -> str:
        """Dataset and protocol, as a heading."""
        row = self.rows[0]
        tuning = "" if row.tuning == "default" else f", tuning {row.tuning}"
        title = self.page.titles.get(row.dataset)
        return f"{row.dataset}{f': {title}' if title else ''}, recipe {row.recipe}{tuning}"

    def methods(self, reference: bool) -> list[list[Result]]:
        """Return the rows of each method, in order of first appearance; references or the others."""
        found: dict[str, list[Result]] = {}
        for row in self.rows:
            if row.reference == reference:
                found.setdefault(row.method, []).append(row)
        return list(found.values())

    def failed(self) -> list[Failure]:
        """Return a failure of each method, references excepted, of which no cell has a row here."""
        own, there = _shared(self.rows[0]), {row.method for row in self.rows}
        failures = (one for one in self.page.failures if not (one.reference or self.page.stale(one)))
        found = {one.method: one for one in failures if _shared(one) == own and one.method not in there}
        return list(found.values())

    @property
    def ratios(self) -> list[int]:
        """The ratios of the columns: the suite's, and any other that methods were run at."""
        extra = {row.ratio for row in self.rows if not row.reference}
        return sorted({*self.page.ratios, *extra})


def _shared(row: Record) -> tuple[str | int, ...]:
    return row.dataset, row.recipe, row.repeats, row.tuning, row.protocol_version, row.dataset_hash


def boards(page: Page) -> list[Board]:
    """Split the rows that are not stale into boards, in the order in which they first appear."""
    found: dict[tuple[str | int, ...], list[Result]] = {}
    for row in page.rows:
        if not page.stale(row):
            found.setdefault(_shared(row), []).append(row)
    return [Board(page, rows) for rows in found.values()]


def label_usage(row: Record) -> str:
    """Return the group a method is shown in: none, few or full, by the labels annotated before selection."""
    return "none" if row.label_fraction == 0 else "full" if row.label_fraction == 1 else "few"


def by_seed(rows: Iterable[Result]) -> dict[int, Result]:
    """Return one row per seed, the first; `conflicts` lists others that disagree."""
    found: dict[int, Result] = {}
    for row in rows:
        found.setdefault(row.seed, row)
    return found


def at(rows: Iterable[Result], ratio: int) -> dict[int, Result]:
    """Return the rows of one ratio, by seed."""
    return by_seed(row for row in rows if row.ratio == ratio)


def as_many_labels(board: Board) -> Iterator[tuple[list[Result], dict[int, dict[int, Result]]]]:
    """Yield the rows of each method that needs labels to select, with those of Random on as many labels.

    The latter are by ratio, then by seed. They are empty where they were not run. A method that needs every
    label could have trained on every image.
    """
    references = board.methods(reference=True)
    matched = {rows[0].matched_to: rows for rows in references if rows[0].matched_to}
    every_image = next((by_seed(rows) for rows in references if rows[0].method == "full"), {})
    for rows in board.methods(reference=False):
        if rows[0].label_fraction == 1:
            yield rows, dict.fromkeys(board.ratios, every_image)
        elif rows[0].label_fraction:
            yield rows, {ratio: at(matched.get(rows[0].method, ()), ratio) for ratio in board.ratios}


def complete(rows: Mapping[int, Result], page: Page) -> bool:
    """Whether every seed of the suite is there."""
    return set(page.seeds) <= set(rows)


def measured(
    rows: Mapping[int, Result],
    page: Page,
    value: Callable[[Result], float],
    rank: int | None = None,
) -> Measured | Gap:
    """Return the cell of rows by seed: the mean of a value of theirs, or a gap where there are none."""
    if not rows:
        return Gap()
    return Measured.over(
        [value(row) for row in rows.values()],
        of=None if complete(rows, page) else len(page.seeds),
        rank=rank,
        disputed=any(row.cell in page.disputed for row in rows.values()),
    )
