"""What may share a table: the rows of a suite, and those of one dataset under one protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from prunebench.results.agreement import disputed
from prunebench.results.cells import Between, Gap, Measured, Number, Table
from prunebench.results.looks import Looks
from prunebench.results.ranking import Ranking
from prunebench.results.rows import Failure, Record, Result
from prunebench.results.spelling import told_apart
from prunebench.results.statistics import summarize

DEMONSTRATION = "tiny"  # the recipe of demonstrations
GROUPS = {"none": "no labels", "few": "few labels", "full": "all labels"}
Place = tuple[str, str, str, str, str]  # method, dataset, recipe, tuning and repeats of a row


@dataclass(frozen=True)
class Page:
    """What a page is made from: its suite's words, its rows, and what a complete table would hold.

    methods: of the suite, by name.
    failures: of cells that have no row.
    current: the method_key that follows from the suite today, by place, or None where that is unknown. Rows
        of another key are stale.
    trainings: a hash of how final networks train, by place.
    roots: the dataset that a dataset is a view of, by name. A dataset that is no view is its own.
    looks: the rule by which seeds were added, if they were.
    complaints: a line for each file with lines that cannot be read.
    titles: of datasets, by name, where these are not their names.
    providers: what makes further tables of a board, such as the numbers that a paper prints beside ours.
    labelers: what methods have for a labeler, with its settings, by place, where that is known.
    verified: the ids of rows that somebody made again, as `prunebench.results.verifications.confirmed` says.
    """

    suite: str
    title: str
    note: str
    ratios: Sequence[int]
    seeds: Sequence[int]
    rows: Sequence[Result]
    methods: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    current: Mapping[Place, str | None] = field(default_factory=dict)
    trainings: Mapping[Place, str] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict)
    looks: Looks | None = None
    complaints: Sequence[str] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    providers: Sequence[Callable[[Board], Sequence[Table]]] = ()
    labelers: Mapping[Place, str] = field(default_factory=dict)
    verified: frozenset[str] = frozenset()

    @cached_property
    def disputed(self) -> Mapping[tuple[object, ...], None]:
        """The cells whose rows of one machine do not agree. Tables flag them, and remarks show all values."""
        found = disputed(self.rows)
        return {row.cell: None for row in self.rows if row.cell in found} if found else {}

    @cached_property
    def elsewhere(self) -> list[tuple[Result, Result]]:
        """Pairs of the row that is shown for a cell and a row of another machine."""
        shown: dict[tuple[object, ...], Result] = {}
        pairs = ((shown.setdefault(row.cell, row), row) for row in self.fresh)
        return [(first, row) for first, row in pairs if first is not row and first.machine != row.machine]

    @cached_property
    def fresh(self) -> list[Result]:
        """The rows that are not stale. Of a cell the certified one comes first, as it is shown."""
        fresh = [row for row in self.rows if not self.stale(row)]
        first: dict[tuple[object, ...], int] = {}
        for number, row in enumerate(fresh):
            first.setdefault(row.cell, number)
        return sorted(fresh, key=lambda row: (first[row.cell], not row.certified))

    @property
    def shown(self) -> list[Result]:
        """The row of each cell that tables show."""
        first: dict[tuple[object, ...], Result] = {}
        for row in self.fresh:
            first.setdefault(row.cell, row)
        return [*first.values()]

    def stale(self, row: Record) -> bool:
        """Whether a row was made with other settings than the suite has today."""
        expected = self.current.get(place(row))
        return expected is not None and expected != row.method_key

    def labeler(self, row: Result) -> str:
        """Return the labeler of a row with its settings: all, or those that the row says.

        A suite does not know the recipe of a folder of the user's, and so not what its labelers are.
        """
        known = self.labelers.get(place(row))
        if known is not None:
            return known
        owners = (row.labeler or "").split()  # itself and its backbones
        said = [f"sampling={row.label_draw}"] if row.label_draw else []
        for path, value in sorted(row.changes.items()):
            if path.rpartition(".")[0] in owners:
                said.append(f"{path}={value}")
        return f"{row.labeler}({', '.join(said)})"

    def setting(self, row: Record) -> tuple[str | int, ...]:
        """Return what rows that share a table have in common.

        Final networks train alike if their recipes hold the same values, under whatever name. Where the
        values are unknown, as of a folder of the user's, it is the name and what was changed of it.
        """
        training = self.trainings.get(place(row)) or ", ".join((row.recipe, *row.recipe_changes))
        return row.dataset, row.dataset_hash, training, row.protocol_version, row.repeats, row.tuning


class MethodRows(list[Result]):
    """The rows of one method on a board, whose tables look up each cell a dozen times."""

    @cached_property
    def by_ratio(self) -> dict[int, dict[int, Result]]:
        """One row per seed, by ratio."""
        ratios = {row.ratio for row in self}
        return {ratio: by_seed([row for row in self if row.ratio == ratio]) for ratio in ratios}


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
        changes = f" with {self.recipe_changes}" if self.recipe_changes else ""
        title = self.page.titles.get(row.dataset)
        return f"{row.dataset}{f': {title}' if title else ''}, recipe {row.recipe}{changes}{tuning}"

    @property
    def recipe_changes(self) -> str:
        """What --set changed of the recipe of all rows, in words; "" if nothing."""
        first = self.rows[0].recipe_changes
        return ", ".join(one for one in first if all(one in row.recipe_changes for row in self.rows))

    def methods(self, reference: bool) -> list[list[Result]]:
        """Return the rows of each method, in order of first appearance; references or the others."""
        return [rows for rows in self._by_method.values() if rows[0].reference == reference]

    def in_columns(self) -> list[list[Result]]:
        """Return the rows of each method, then of each reference, that stands in the columns of ratios.

        A reference that is at one ratio alone, or matched to a method, stands in a table of its own.
        """
        references = [rows for rows in self.methods(reference=True) if rows[0].matched_to is None]
        return [*self.methods(reference=False), *(rows for rows in references if not at_one_ratio(rows))]

    def twins(self, kind: str) -> dict[str, list[Result]]:
        """Return the rows of the Randoms that are matched in "labels" or in "work", by the other method."""
        references = self.methods(reference=True)
        first = ((rows[0], rows) for rows in references)
        return {row.matched_to: rows for row, rows in first if row.matched_to and row.matched_in == kind}

    @cached_property
    def _by_method(self) -> dict[str, MethodRows]:
        found: dict[str, MethodRows] = {}
        for row in self.rows:
            found.setdefault(row.method, MethodRows()).append(row)
        return found

    def failed(self) -> list[Failure]:
        """Return a failure of each method, references excepted, of which no cell has a row here."""
        own = self.page.setting(self.rows[0])
        failures = (one for one in self.page.failures if not (one.reference or self.page.stale(one)))
        shared = (one for one in failures if self.page.setting(one) == own)
        return list({one.method: one for one in shared if one.method not in self._by_method}.values())

    @cached_property
    def ratios(self) -> list[int]:
        """The ratios of the columns: the suite's, and any other that methods were run at."""
        extra = {row.ratio for row in self.rows if not row.reference}
        return sorted({*self.page.ratios, *extra})

    def beside(self, **other: str) -> list[Result]:
        """Return the rows of the page whose setting is this board's, but for another tuning or repeats."""
        wanted = self.page.setting(self.rows[0].model_copy(update=other))
        found = (row for row in self.page.fresh if all(getattr(row, name) == other[name] for name in other))
        return [row for row in found if self.page.setting(row) == wanted]

    @cached_property
    def runs(self) -> int:
        """How many seeds the complete cells of methods have, or most of them."""
        counts = Counter(
            len(cell)
            for rows in self.methods(reference=False)
            for ratio in self.ratios
            if complete(cell := at(rows, ratio), self.page)
        )
        return max(counts, key=lambda runs: (counts[runs], runs), default=len(self.page.seeds))

    @cached_property
    def rankings(self) -> dict[int, Ranking]:
        """How the seeds rank methods, by ratio."""
        return {ratio: Ranking.of(self.ranked(ratio), self.page.looks) for ratio in self.ratios}

    def ranked(self, ratio: int) -> dict[str, dict[int, float]]:
        """Return the accuracies of the methods that are ranked at a ratio, by method and seed.

        They have complete cells there and need not all labels. None is ranked by values that the test split
        chose.
        """
        if self.rows[0].tuning == "oracle_test":
            return {}
        methods = self.methods(reference=False)
        return self.column([rows for rows in methods if label_usage(rows[0]) != "full"], ratio)

    def ranks(self, ratio: int) -> dict[str, tuple[int, int, int]]:
        """Return the rank by mean accuracy, the lowest and the highest rank of ranked methods, best first.

        1 is the best. The lowest and the highest are those that the seeds allow, and a single seed allows all
        of them. {} for fewer than two methods.
        """
        means = {method: summarize([*runs.values()]).mean for method, runs in self.ranked(ratio).items()}
        if len(means) < 2:
            return {}
        found = {}
        for method in sorted(means, key=lambda name: -means[name]):
            rank = 1 + sum(mean > means[method] for mean in means.values())
            place = self.rankings[ratio].place(method)
            ends = (place.low, place.high) if isinstance(place, Between) else (1, len(means))
            found[method] = (rank, int(ends[0]), int(ends[1]))
        return found

    def column(self, methods: Iterable[Sequence[Result]], ratio: int) -> dict[str, dict[int, float]]:
        """Return the accuracies of those methods whose cell is complete at a ratio, by method and seed."""
        cells = {rows[0].method: at(rows, ratio) for rows in methods}
        return {
            method: {seed: row.accuracy for seed, row in cell.items()}
            for method, cell in cells.items()
            if complete(cell, self.page)
        }


def by_labeler(page: Page, rows: Iterable[Result]) -> dict[tuple[str, float], list[Result]]:
    """Return a row of each repeat of each labeler, by its name and the share of labels that it has annotated.

    rows: of one board.
    """
    found: dict[tuple[str, float, str], dict[int, Result]] = {}
    for row in rows:
        if row.labeler:
            key = row.labeler, row.label_fraction, page.labeler(row)
            found.setdefault(key, {}).setdefault(row.labeler_repeat, row)
    names = told_apart(found)
    return {(names[key], key[1]): [*repeats.values()] for key, repeats in found.items()}


def place(row: Record) -> Place:
    """Return what decides the settings of a row in its suite."""
    return row.method, row.dataset, row.recipe, row.tuning, row.repeats


def boards(page: Page) -> list[Board]:
    """Split the rows that are not stale into boards, in the order in which they first appear."""
    found: dict[tuple[str | int, ...], list[Result]] = {}
    for row in page.fresh:
        found.setdefault(page.setting(row), []).append(row)
    return [Board(page, rows) for group in found.values() for rows in _without_doubles(group)]


def _without_doubles(rows: list[Result]) -> list[list[Result]]:
    """Split rows by the name of their recipe where a method would have two results of one cell.

    Final networks then train alike under two recipes that differ elsewhere, as in the proxy network.
    """
    keys: dict[str, str] = {}
    if all(keys.setdefault(row.method, row.method_key) == row.method_key for row in rows):
        return [rows]
    found: dict[str, list[Result]] = {}
    for row in rows:
        found.setdefault(row.recipe, []).append(row)
    return list(found.values())


def stems(found: Sequence[Board]) -> Iterator[str]:
    """Yield a unique name for each board: its dataset, then if needed the recipe and a number."""
    datasets = [board.rows[0].dataset for board in found]
    used: list[str] = []
    for board in found:
        row = board.rows[0]
        stem = row.dataset if datasets.count(row.dataset) == 1 else f"{row.dataset}-{row.recipe}"
        used.append(stem)
        yield stem if used.count(stem) == 1 else f"{stem}-{used.count(stem)}"


def label_usage(row: Record) -> str:
    """Return the group a method is shown in: none, few or full, by the labels annotated before selection."""
    return "none" if row.label_fraction == 0 else "full" if row.label_fraction == 1 else "few"


def at_one_ratio(rows: Iterable[Result]) -> bool:
    """Whether all rows are of the same ratio."""
    return len({row.ratio for row in rows}) == 1


def by_seed(rows: Iterable[Result]) -> dict[int, Result]:
    """Return one row per seed, the first. Remarks of the page list others that disagree."""
    found: dict[int, Result] = {}
    for row in rows:
        found.setdefault(row.seed, row)
    return found


def at(rows: Iterable[Result], ratio: int) -> dict[int, Result]:
    """Return the rows of one ratio, by seed."""
    if isinstance(rows, MethodRows):
        return rows.by_ratio.get(ratio, {})
    return by_seed([row for row in rows if row.ratio == ratio])


def as_many_labels(board: Board) -> Iterator[tuple[list[Result], dict[int, dict[int, Result]]]]:
    """Yield the rows of each method that needs labels to select, with those of Random on as many labels.

    The latter are by ratio, then by seed. They are empty where they were not run. A method that needs every
    label could have trained on every image.
    """
    matched = board.twins("labels")
    references = board.methods(reference=True)
    every_image = next((by_seed(rows) for rows in references if rows[0].method == "full"), {})
    for rows in board.methods(reference=False):
        if rows[0].label_fraction == 1:
            yield rows, dict.fromkeys(board.ratios, every_image)
        elif rows[0].label_fraction:
            yield rows, {ratio: at(matched.get(rows[0].method, ()), ratio) for ratio in board.ratios}


def complete(rows: Mapping[int, object], page: Page) -> bool:
    """Whether every seed of the suite is there."""
    return set(page.seeds) <= set(rows)


def measured(
    rows: Mapping[int, Result],
    board: Board,
    value: Callable[[Result], float],
    rank: int | None = None,
) -> Measured | Gap:
    """Return the cell of rows by seed: the mean of a value of theirs, or a gap where there are none."""
    if not rows:
        return Gap()
    return Measured.over(
        [value(row) for row in rows.values()],
        of=expected(rows, board),
        rank=rank,
        disputed=bool(board.page.disputed) and any(row.cell in board.page.disputed for row in rows.values()),
    )


def accuracy(row: Result) -> float:
    """Return the accuracy of a row, in percent."""
    return row.accuracy


def mean(values: Sequence[float], unit: str) -> Number | Gap:
    """Return the mean of values whose spread is not shown, or a gap where there are none."""
    return Number(summarize(values).mean, unit) if values else Gap()


def expected(rows: Mapping[int, object], board: Board) -> int | None:
    """Return how many seeds a cell would have if it were as others, or None if it is."""
    if not complete(rows, board.page):
        return len(board.page.seeds)
    return None if len(rows) == board.runs else board.runs
