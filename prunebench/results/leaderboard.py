"""Result rows -> the tables of a suite, and those as markdown or plain text. Pure: no files, no clock."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from prunebench.parts.sampling import READ_ALL
from prunebench.results.rows import Failure, Record, Result
from prunebench.results.statistics import Summary, summarise
from prunebench.system import escaping

GAP = "·"  # a cell without a result; never averaged over
MARKS = re.compile(r"\*\*|</?u>|(?<!\S)\*|\*(?!\S)")  # of best, second and references
QUALITY_HEADER = ["right", "balanced", "after matching", "NMI", "ARI", "empty classes"]
DEMONSTRATION = "Demonstration. Says nothing about the paper's datasets."
TUNING = {
    "default": "default",
    "search": "search, each value chosen by the labeler's labels of a tenth of the labelled images",
    "published": "published, the cutoffs printed for Semi-AUM, which may have been chosen on the test split",
    "oracle_test": "oracle, each value chosen on the test split: to study the gap, never a result",
}
GROUPS = {"none": "no labels", "few": "few labels", "full": "all labels"}


@dataclass(frozen=True)
class Page:
    """What a page is made from: its suite's words, its rows, and what a complete table would hold.

    failures: of cells that have no row. current: the method_key that follows from the suite today, by
    (method, dataset, recipe, tuning), or None where that cannot be told; rows of another key are stale.
    titles: of datasets, by name, where these are not their names. published: what makes the tables of
    numbers that papers print, beside those of a board.
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
    published: Callable[[Board], Sequence[Table]] = lambda board: ()

    @cached_property
    def disputed(self) -> set[tuple[object, ...]]:
        """The cells whose rows do not agree; tables flag them, and remarks show all their values."""
        found: dict[tuple[object, ...], Result] = {}
        return {row.cell for row in self.rows if not found.setdefault(row.cell, row).agrees(row)}

    def stale(self, row: Record) -> bool:
        """Whether a row was made with other settings than the suite has today."""
        expected = self.current.get((row.method, row.dataset, row.recipe, row.tuning))
        return expected is not None and expected != row.method_key


@dataclass(frozen=True)
class Table:
    """A titled table of strings, with lines of explanation below. Cells may hold ** and <u> marks."""

    title: str
    header: list[str]
    body: list[list[str]]
    notes: list[str] = field(default_factory=list)


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
    """Return the group a method is shown in: none, few or full, by the labels bought before selection."""
    return "none" if row.annotation == 0 else "full" if row.annotation == 1 else "few"


def by_seed(rows: Iterable[Result]) -> dict[int, Result]:
    """Return one row per seed, the first; `conflicts` tells where there are others that disagree."""
    found: dict[int, Result] = {}
    for row in rows:
        found.setdefault(row.seed, row)
    return found


def at(rows: Iterable[Result], ratio: int) -> dict[int, Result]:
    """Return the rows of one ratio, by seed."""
    return by_seed(row for row in rows if row.ratio == ratio)


def complete(rows: Mapping[int, Result], page: Page) -> bool:
    """Whether every seed of the suite is there."""
    return set(page.seeds) <= set(rows)


def show(rows: Mapping[int, Result], page: Page, value: Callable[[Result], float]) -> str:
    """Spell a cell: mean ± standard deviation, with the number of seeds where some are missing."""
    if not rows:
        return GAP
    text = str(summarise([value(row) for row in rows.values()]))
    if any(row.cell in page.disputed for row in rows.values()):
        text += " (rows disagree)"
    return text if complete(rows, page) else f"{text} ({len(rows)} of {len(page.seeds)} seeds)"


def accuracy_table(board: Board) -> Table:
    """Test accuracy by method and ratio, grouped by label usage; best bold, second underlined."""
    page, body = board.page, []
    marks = {ratio: _marks(board, ratio) for ratio in board.ratios}
    methods = sorted(
        board.methods(reference=False), key=lambda rows: list(GROUPS).index(label_usage(rows[0]))
    )
    for rows in methods:
        cells = []
        for ratio in board.ratios:
            text = show(at(rows, ratio), page, lambda row: row.accuracy)
            cells.append(marks[ratio].get(rows[0].method, "{}").format(text))
        body.append([rows[0].title, GROUPS[label_usage(rows[0])], *cells])
    holes = [GAP] * len(board.ratios)
    body += [[one.title, GROUPS[label_usage(one)], *holes] for one in board.failed()]
    body.sort(key=lambda line: list(GROUPS.values()).index(line[1]))
    for rows in board.methods(reference=True):
        if rows[0].beside is None and len({row.ratio for row in rows}) > 1:
            cells = [show(at(rows, ratio), page, lambda row: row.accuracy) for ratio in board.ratios]
            body.append([f"*{rows[0].title}*", "reference", *cells])
    header = ["method", "labels to select", *(f"{ratio} % pruned" for ratio in board.ratios)]
    notes = [
        f"Test accuracy in percent, last epoch, mean ± standard deviation over {len(page.seeds)} seeds. "
        "Bold: best, underlined: second, among complete cells of methods without all labels. "
        f"{GAP} marks a cell without a result; references are never ranked."
    ]
    seen = [(rows[0].title, backbone) for rows in methods for backbone in rows[0].pretraining]
    notes += [f"{title} uses a pretrained backbone, {backbone}." for title, backbone in seen]
    notes += [
        f"{rows[0].title} buys some labels, but their draw ({rows[0].label_draw}) reads every label."
        for rows in methods
        if rows[0].label_draw in READ_ALL
    ]
    notes += filter(None, map(_constant_scores, methods))
    if board.rows[0].tuning == "oracle_test":
        notes.append("Values were chosen with true labels and the test split: nothing here is a result.")
    return Table("Accuracy", header, body, notes)


def _constant_scores(rows: Sequence[Result]) -> str | None:
    """Return what to know of a method whose scores order nothing, as those of one epoch of `forgetting`."""
    count = sum(row.constant_scores for row in rows)
    if not count:
        return None
    return (
        f"{rows[0].title}: in {count} of {len(rows)} cells every image had the same score, which orders none."
    )


def _marks(board: Board, ratio: int) -> dict[str, str]:
    """Return the marks of the best and second method at a ratio, among those that may have one."""
    means: dict[str, float] = {}
    for rows in board.methods(reference=False) if board.rows[0].tuning != "oracle_test" else []:
        found = at(rows, ratio)
        if label_usage(rows[0]) != "full" and found and complete(found, board.page):
            means[rows[0].method] = summarise([row.accuracy for row in found.values()]).mean
    best = sorted(means, key=lambda method: -means[method])[:2]
    return dict(zip(best, ("**{}**", "<u>{}</u>"), strict=False)) if len(means) > 1 else {}


def reference_table(board: Board) -> Table | None:
    """The references that stand at one ratio only, such as the network trained on all images."""
    body = []
    for rows in board.methods(reference=True):
        if len({row.ratio for row in rows}) == 1 and rows[0].beside is None:
            seeds = by_seed(rows)
            kept = f"{rows[0].kept} of {rows[0].images}"
            values = (show(seeds, board.page, value) for value in (_accuracy, _balanced, _worst))
            body.append([rows[0].title, kept, *values])
    header = ["reference", "images kept", "accuracy", "balanced", "worst tenth of classes"]
    return Table("Reference points", header, body) if body else None


def _accuracy(row: Result) -> float:
    return row.accuracy


def _balanced(row: Result) -> float:
    return row.balanced_accuracy


def _worst(row: Result) -> float:
    return row.worst_decile_recall


def difference_table(board: Board) -> Table | None:
    """Accuracy minus Random's, paired by seed."""
    methods = board.methods(reference=False)
    random = next((rows for rows in methods if rows[0].method == "random"), None)
    if random is None or len(methods) < 2:
        return None
    body = []
    for rows in [*methods, *(r for r in board.methods(reference=True) if r[0].method == "random_twin")]:
        if rows is not random:
            cells = [_difference(at(rows, ratio), at(random, ratio), board.page) for ratio in board.ratios]
            body.append([rows[0].title, *cells])
    header = ["method", *(f"{ratio} % pruned" for ratio in board.ratios)]
    notes = ["Percentage points, mean ± standard deviation of the differences of runs with the same seed."]
    return Table("Difference to Random", header, body, notes)


def _difference(rows: Mapping[int, Result], random: Mapping[int, Result], page: Page) -> str:
    pairs = [rows[seed].accuracy - random[seed].accuracy for seed in rows if seed in random]
    if not pairs:
        return GAP
    found = summarise(pairs)
    mean = round(found.mean, 1) + 0.0  # no negative zero
    text = f"{mean:+.1f}" + ("" if found.spread is None else f" ± {found.spread:.1f}")
    return text if len(pairs) >= len(page.seeds) else f"{text} ({len(pairs)} of {len(page.seeds)} seeds)"


def equal_labels_table(board: Board) -> Table | None:
    """Methods that pay for their selection beside Random with as many labels in all."""
    body = []
    matched = {rows[0].beside: rows for rows in board.methods(reference=True) if rows[0].beside}
    full = next((rows for rows in board.methods(reference=True) if rows[0].method == "full"), None)
    for rows in board.methods(reference=False):
        if rows[0].annotation == 0:
            continue
        # Who bought every label could have trained on every image.
        twin = full if rows[0].annotation == 1 else matched.get(rows[0].method)
        labels, ours, theirs = [], [], []
        for ratio in board.ratios:
            found = at(rows, ratio)
            labels.append(_count(found))
            ours.append(show(found, board.page, _accuracy))
            other = (by_seed(twin) if twin is full else at(twin, ratio)) if twin else {}
            theirs.append(show(other, board.page, _accuracy))
        body += [
            [rows[0].title, "labels in all", *labels],
            ["", "accuracy", *ours],
            ["", "Random, as many labels", *theirs],
        ]
    header = ["method", "", *(f"{ratio} % pruned" for ratio in board.ratios)]
    notes = [
        "Labels in all: those bought before the selection together with those of the kept images. "
        "Random spends them all on images to train on, so it trains on more images."
    ]
    return Table("Equal labels", header, body, notes) if body else None


def _count(rows: Mapping[int, Result]) -> str:
    return f"{summarise([row.labels_total for row in rows.values()]).mean:.0f}" if rows else GAP


def quality_cells(metrics: Sequence[Mapping[str, float]]) -> list[str]:
    """Spell the quality of labels, one mapping per seed, on the images that were not paid for.

    See `prunebench.pipeline.label_quality.measure`; clusters, whose numbers carry no names, have no share
    that is right as they stand.
    """
    cells = []
    for name in ("accuracy", "balanced", "hungarian", "nmi", "ari", "empty"):
        values = [found.get(f"unlabelled_{name}", found.get(name)) for found in metrics]
        known = [value for value in values if value is not None]
        cells.append(str(summarise(known)) if known else GAP)
    return cells


def labels_table(board: Board) -> Table | None:
    """How good the guessed labels were that methods selected by."""
    found: dict[tuple[str, float], dict[int, Result]] = {}
    for row in board.rows:
        if row.quality and row.labeler:
            repeat = row.seed if row.repeats == "pipeline" else 0  # else all seeds share one labeler
            found.setdefault((row.labeler, row.annotation), {}).setdefault(repeat, row)
    body = [
        [labeler, f"{annotation:.0%}", *quality_cells([row.quality for row in rows.values()])]
        for (labeler, annotation), rows in found.items()
    ]
    notes = [
        "On the images whose label was not paid for, in percent: labelled right; mean recall over classes "
        "(clusters after matching); labelled right after the best one-to-one matching of labels with "
        "classes; normalised mutual information; adjusted Rand index. Empty: classes that no such image is "
        "labelled with."
    ]
    return Table("Pseudo-labels", ["labeler", "labels", *QUALITY_HEADER], body, notes) if body else None


def tuned_table(board: Board) -> Table | None:
    """The values that tuning gave to fields, by ratio."""
    body = []
    for rows in board.methods(reference=False):
        for name in dict.fromkeys(name for row in rows for name in row.tuned):
            found = (at(rows, ratio).values() for ratio in board.ratios)
            values = [sorted({row.tuned[name] for row in group if name in row.tuned}) for group in found]
            shown = [" or ".join(f"{value:g}" for value in group) or GAP for group in values]
            body.append([rows[0].title, name, str(max(row.trials for row in rows)), *shown])
    header = ["method", "field", "trials", *(f"{ratio} % pruned" for ratio in board.ratios)]
    judges = sorted({row.tuned_on for row in board.rows if row.tuned})
    notes = [f"Chosen by {' and '.join(judges)}. Trials: trainings of the search behind a cell, at most."]
    return Table("Tuned values", header, body, notes) if body else None


def _setting(row: Result) -> tuple[object, ...]:
    return row.dataset_hash, row.recipe, row.repeats, row.protocol_version


def regret_table(board: Board) -> Table | None:
    """What the search lost against a choice on the test split, where both were run."""
    own = board.rows[0]
    oracle: dict[str, list[Result]] = {}
    for row in board.page.rows:
        same = _setting(row) == _setting(own)
        if row.tuning == "oracle_test" and same and not board.page.stale(row):
            oracle.setdefault(row.method, []).append(row)
    body = []
    for rows in board.methods(reference=False) if own.tuning == "search" else []:
        other = oracle.get(rows[0].method)
        if other and any(row.tuned for row in rows):
            cells = [_difference(at(other, ratio), at(rows, ratio), board.page) for ratio in board.ratios]
            body.append([rows[0].title, *cells])
    header = ["method", *(f"{ratio} % pruned" for ratio in board.ratios)]
    notes = [
        "Percentage points that the same grids give more where the test split chooses, which nobody may "
        "do: mean ± standard deviation of the differences of runs with the same seed."
    ]
    return Table("Regret of the search", header, body, notes) if body else None


def cost_table(board: Board) -> Table:
    """What selection and training cost, per cell, as if each cell had been run alone."""
    body = []
    for rows in board.methods(reference=False):
        selection = summarise([_selection_seconds(row) for row in rows])
        training = [_seconds_at(rows, ratio) for ratio in board.ratios]
        lost = [_lost(at(rows, ratio)) for ratio in board.ratios]
        labels = summarise([row.labels_selection for row in rows]).mean
        body.append(
            [rows[0].title, f"{labels:.0f}", _seconds(selection), " / ".join(training), " / ".join(lost)]
        )
    ratios = " / ".join(str(ratio) for ratio in board.ratios)
    header = [
        "method",
        "labels to select",
        "seconds to select",
        f"seconds to train at {ratios}",
        "classes lost",
    ]
    devices = sorted({f"{row.device_name} ({row.device})" for row in board.rows})
    notes = [
        f"Mean seconds of computation on {', '.join(devices)}. "
        "Classes lost: those with no image kept, mean over seeds."
    ]
    return Table("Cost", header, body, notes)


def _selection_seconds(row: Result) -> float:
    return sum(seconds for stage, seconds in row.seconds.items() if stage != "accuracy")


def _seconds_at(rows: Sequence[Result], ratio: int) -> str:
    found = at(rows, ratio).values()
    return _seconds(summarise([row.seconds.get("accuracy", 0.0) for row in found])) if found else GAP


def _seconds(found: Summary) -> str:
    return f"{found.mean:.1f}" if found.mean < 100 else f"{found.mean:.0f}"


def _lost(rows: Mapping[int, Result]) -> str:
    return f"{summarise([row.lost_classes for row in rows.values()]).mean:g}"[:4] if rows else GAP


def conflicts(page: Page) -> list[str]:
    """Return a line for each cell whose rows do not agree; such a cell is flagged, not averaged away."""
    found: dict[tuple[object, ...], list[Result]] = {}
    for row in page.rows:
        found.setdefault(row.cell, []).append(row)
    lines = []
    for cell, rows in found.items():
        if cell in page.disputed:
            values = ", ".join(f"{row.accuracy:.2f} ({row.date}, {row.id})" for row in rows)
            row = rows[0]
            lines.append(
                f"{row.method} on {row.dataset} at {row.ratio}, seed {row.seed}: rows disagree: {values}"
            )
    return lines


def failure_lines(page: Page) -> list[str]:
    """Return a line for each reason for which cells of a method failed."""
    found = Counter((one.method, one.dataset, one.failed) for one in page.failures if not page.stale(one))
    return [
        f"failed: {count} cell(s) of {method} on {dataset}: {why}"
        for (method, dataset, why), count in sorted(found.items())
    ]


def stale_lines(page: Page) -> list[str]:
    """Return a line for each method whose rows were made with other settings than the suite's."""
    found: dict[tuple[str, str, str], list[Result]] = {}
    for row in page.rows:
        if page.stale(row):
            found.setdefault((row.method, row.dataset, row.method_key), []).append(row)
    return [
        f"stale: {len(rows)} row(s) of {method} on {dataset} were made with other settings and are left out"
        for (method, dataset, _), rows in sorted(found.items())
    ]


def tables(board: Board) -> list[Table]:
    """Return the tables of one board."""
    makers = (
        accuracy_table,
        reference_table,
        difference_table,
        equal_labels_table,
        labels_table,
        tuned_table,
        regret_table,
        cost_table,
    )
    own = [table for maker in makers if (table := maker(board)) is not None]
    return [*own, *board.page.published(board)]


def header_lines(board: Board) -> list[str]:
    """Return the facts that every row of a board shares."""
    row = board.rows[0]
    repeats = {
        "pipeline": "each seed repeats everything: label draw, labeler, proxy, scores, selection, training",
        "training": "each seed repeats selection and training only, on the scores of one pipeline",
    }[row.repeats]
    if row.tuning in ("search", "oracle_test") and row.repeats == "pipeline":
        repeats += "; tuned values were chosen once, on the pipeline of seed 0"
    demonstration = [f"> {DEMONSTRATION}"] if row.recipe == "tiny" and not board.page.note else []
    return [
        *demonstration,
        f"{row.images} training images. Repeats: {repeats}. Tuning: {TUNING[row.tuning]}. "
        f"Protocol {row.protocol_version}, dataset {row.dataset_hash[:12]}.",
    ]


def markdown(page: Page) -> str:
    """Return the page of a suite as markdown."""
    from tabulate import tabulate

    safe = escaping.markdown
    blocks = [f"# {safe(page.title)}", *([f"> {safe(page.note)}"] if page.note else [])]
    blocks.append(
        f"Made by `prunebench leaderboard` from the rows in `results/{safe(page.suite)}/`; do not edit."
    )
    for board in boards(page):
        blocks += [f"## {safe(board.heading)}", *header_lines(board)]
        for table in tables(board):
            body = [[_marked(cell) for cell in row] for row in table.body]
            blocks += [
                f"### {table.title}",
                tabulate(body, table.header, tablefmt="github", disable_numparse=True),
            ]
            blocks += map(safe, table.notes)
    if lines := remarks(page):
        blocks += ["## Remarks", "\n".join(f"- {safe(line)}" for line in lines)]
    return "\n\n".join(blocks) + "\n"


def _marked(cell: str) -> str:
    """Escape a cell but for the mark of the second best, which is HTML."""
    inner = cell.removeprefix("<u>").removesuffix("</u>")
    return f"<u>{escaping.markdown(inner)}</u>" if cell == f"<u>{inner}</u>" else escaping.markdown(cell)


def remarks(page: Page) -> list[str]:
    """Return a line for whatever keeps rows from the tables, or makes them doubtful."""
    return [*conflicts(page), *failure_lines(page), *stale_lines(page), *page.complaints]


def text(page: Page, *, only: Callable[[Table], bool] = lambda table: True) -> str:
    """Return the tables of a page for a terminal."""
    from tabulate import tabulate

    blocks = [escaping.plain(page.note)] if page.note else []
    for board in boards(page):
        blocks.append(escaping.plain(board.heading))
        for table in filter(only, tables(board)):
            body = [[escaping.plain(MARKS.sub("", cell)) for cell in row] for row in table.body]
            blocks.append(
                f"{table.title}\n" + tabulate(body, table.header, tablefmt="simple", disable_numparse=True)
            )
            blocks += map(escaping.plain, table.notes)
    return "\n\n".join([*blocks, *map(escaping.plain, remarks(page))])
