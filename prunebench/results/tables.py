"""Rows -> the tables of one dataset. Pure: no files, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prunebench.parts.sampling import READ_ALL
from prunebench.results import class_tables, rank_tables, work_tables
from prunebench.results.board import (
    GROUPS,
    Board,
    accuracy,
    as_many_labels,
    at,
    at_one_ratio,
    by_labeler,
    by_seed,
    expected,
    label_usage,
    mean,
    measured,
)
from prunebench.results.cells import (
    Alternatives,
    Cell,
    Column,
    Difference,
    Gap,
    Measured,
    Number,
    PerRatio,
    Row,
    Table,
    Text,
    columns,
    rows_of,
)
from prunebench.results.looks import compare_with
from prunebench.results.rows import Record, Result

QUALITY_HEADER = ["right", "balanced", "after matching", "NMI", "ARI", "empty classes"]
RANKED = "complete cells of methods without all labels"
BETTER, WORSE = "better", "worse"


def accuracy_table(board: Board) -> Table:
    """Test accuracy by method and ratio, grouped by label usage; best and second marked if separated."""
    ratios = board.ratios
    methods = sorted(board.methods(reference=False), key=lambda rows: _group(rows[0]))
    lines: list[tuple[Record, list[Measured | Gap]]] = []
    for rows in methods:
        marks = {ratio: board.rankings[ratio].mark(rows[0].method) for ratio in ratios}
        lines.append((rows[0], [measured(at(rows, r), board, accuracy, mark) for r, mark in marks.items()]))
    lines += [(one, [Gap()] * len(ratios)) for one in board.failed()]
    body = [
        Row([Text(one.title), Text(GROUPS[label_usage(one)]), *cells])
        for one, cells in sorted(lines, key=lambda line: _group(line[0]))
    ]
    for rows in board.in_columns():
        if rows[0].reference:
            cells = [measured(at(rows, ratio), board, accuracy) for ratio in ratios]
            body.append(Row([Text(rows[0].title), Text("reference"), *cells], reference=True))
    resolution, notes = rank_tables.resolution(board)
    header = columns("method", "labels to select", ratios=ratios)
    notes = [*_accuracy_notes(board, methods), *notes]
    return Table("Accuracy", header, [*body, *resolution], notes, keys=2, ranked=RANKED)


def _accuracy_notes(board: Board, methods: Sequence[Sequence[Result]]) -> list[str]:
    """Return what to know of the methods, by their rows, before accuracies are compared."""
    cells = [found for rows in methods for ratio in board.ratios if (found := at(rows, ratio))]
    alike = all(expected(found, board) is None for found in cells)
    seeds = (
        f"{board.runs} seed{'' if board.runs == 1 else 's'}{'' if alike else ' unless a cell says otherwise'}"
    )
    notes = [f"Test accuracy in percent, last epoch, mean ± standard deviation over {seeds}."]
    notes += _pretrained(methods)
    notes += [
        f"{rows[0].title} uses some labels, but their draw ({rows[0].label_draw}) reads every label."
        for rows in methods
        if rows[0].label_draw in READ_ALL
    ]
    notes += filter(None, map(_constant_scores, methods))
    notes += filter(None, map(_micro_batches, [*methods, *board.methods(reference=True)]))
    if looks := board.page.looks:
        notes.append(
            f"Seeds were added while tie groups were open. Looks at {looks.first} to {looks.most} seeds "
            "share one error rate."
        )
    if board.rows[0].tuning == "oracle_test":
        notes.append("Values were chosen with true labels and the test split: nothing here is a result.")
    return notes


def _pretrained(methods: Sequence[Sequence[Result]]) -> list[str]:
    """Return a sentence for each pretrained backbone, with the titles of the methods that use it."""
    users: dict[str, list[str]] = {}
    for rows in methods:
        for backbone in rows[0].pretraining:
            users.setdefault(backbone, []).append(rows[0].title)
    return [
        f"Pretrained backbone {backbone}. Used by {', '.join(titles)}." for backbone, titles in users.items()
    ]


def _group(row: Record) -> int:
    return list(GROUPS).index(label_usage(row))


def _constant_scores(rows: Sequence[Result]) -> str | None:
    """Return what to know of a method whose scores order nothing, as those of one epoch of `forgetting`."""
    count = sum(row.constant_scores for row in rows)
    if not count:
        return None
    return (
        f"{rows[0].title}: in {count} of {len(rows)} cells every image had the same score, which orders none."
    )


def _micro_batches(rows: Sequence[Result]) -> str | None:
    """Return what to know of a method whose trainings lacked memory, which changes what BatchNorm does."""
    sizes = [row.micro_batch for row in rows if row.micro_batch is not None]
    if not sizes:
        return None
    return (
        f"{rows[0].title}: in {len(sizes)} of {len(rows)} cells memory lacked for a batch, "
        f"and BatchNorm saw {min(sizes)} images or more of it at once."
    )


def reference_table(board: Board) -> Table | None:
    """The references that stand at one ratio only, such as the network trained on all images."""
    body = []
    for rows in board.methods(reference=True):
        if at_one_ratio(rows) and rows[0].matched_to is None:
            seeds = by_seed(rows)
            kept = Number(rows[0].kept, "images", of=rows[0].images)
            values = (measured(seeds, board, value) for value in (accuracy, _balanced, _worst))
            body.append(Row([Text(rows[0].title), kept, *values]))
    header = columns("reference", "images kept", "accuracy", "balanced", "worst tenth of classes")
    return Table("Reference points", header, body) if body else None


def _balanced(row: Result) -> float:
    return row.balanced_accuracy


def _worst(row: Result) -> float:
    return row.worst_decile_recall


def difference_table(board: Board) -> Table | None:
    """Accuracy minus Random's, paired by seed, and whether the seeds separate them."""
    methods = board.methods(reference=False)
    random = next((rows for rows in methods if rows[0].method == "random"), None)
    if random is None or len(methods) < 2:
        return None
    found = {ratio: verdicts(board, ratio) for ratio in board.ratios}
    body = []
    for rows in [*methods, *(r for r in board.methods(reference=True) if r[0].method == "random_twin")]:
        if rows is not random:
            cells = [
                _difference(at(rows, ratio), at(random, ratio), board, found[ratio].get(rows[0].method))
                for ratio in board.ratios
            ]
            body.append(Row([Text(rows[0].title), *cells]))
    header = columns("method", ratios=board.ratios)
    notes = [
        "Percentage points, mean ± standard deviation of the differences of runs with the same seed. A "
        f"method is called {BETTER} or {WORSE} where the seeds separate it from Random, if all methods of "
        "the column are compared with it."
    ]
    return Table("Difference to Random", header, body, notes)


def verdicts(board: Board, ratio: int) -> dict[str, str]:
    """Return of those methods that the seeds of a ratio separate from Random whether they are better."""
    column = board.column(board.methods(reference=False), ratio)
    random = column.pop("random", None)
    if random is None:
        return {}
    signs = compare_with(random, [*column.values()], board.page.looks)
    words = {1: BETTER, -1: WORSE}
    return {method: words[sign] for method, sign in zip(column, signs, strict=True) if sign}


def _difference(
    rows: Mapping[int, Result], other: Mapping[int, Result], board: Board, verdict: str | None = None
) -> Difference | Gap:
    """Return by how many points rows are better than others of the same seeds."""
    pairs = {seed: rows[seed].accuracy - other[seed].accuracy for seed in rows if seed in other}
    if not pairs:
        return Gap()
    return Difference.over([*pairs.values()], of=expected(pairs, board), verdict=verdict)


def equal_labels_table(board: Board) -> Table | None:
    """Methods that need labels to select, next to Random with as many labels in all."""
    body = []
    for rows, random in as_many_labels(board):
        labels: list[Cell] = []
        ours: list[Cell] = []
        theirs: list[Cell] = []
        for ratio in board.ratios:
            found = at(rows, ratio)
            labels.append(mean([row.labels_total for row in found.values()], "labels"))
            ours.append(measured(found, board, accuracy))
            theirs.append(measured(random[ratio], board, accuracy))
        lines = {"labels in all": labels, "accuracy": ours, "Random, as many labels": theirs}
        body += rows_of(rows[0].title, lines)
    header = columns("method", "", ratios=board.ratios)
    notes = [
        "Labels in all: those annotated before the selection together with those of the kept images. "
        "Random spends them all on images to train on, so it trains on more images."
    ]
    return Table("Equal labels", header, body, notes, keys=2) if body else None


def quality_cells(metrics: Sequence[Mapping[str, float]]) -> list[Measured | Gap]:
    """Return the quality of labels, one mapping per seed, on the images that were not annotated.

    See `prunebench.pipeline.label_quality.measure`; clusters, whose numbers carry no names, have no share
    that is right as they stand.
    """
    cells: list[Measured | Gap] = []
    for name in ("accuracy", "balanced", "hungarian", "nmi", "ari", "empty"):
        values = [found.get(f"unlabeled_{name}", found.get(name)) for found in metrics]
        known = [value for value in values if value is not None]
        unit = "classes" if name == "empty" else "percent"
        cells.append(Measured.over(known, unit=unit) if known else Gap())
    return cells


def labels_table(board: Board) -> Table | None:
    """How good the pseudo-labels were that methods selected by."""
    body = []
    judged = (row for row in board.rows if row.quality)
    for (labeler, label_fraction), rows in by_labeler(board.page, judged).items():
        cells = quality_cells([row.quality for row in rows])
        body.append(Row([Text(labeler), Number(label_fraction, "share"), *cells]))
    notes = [
        "On the images that were not annotated, in percent: labeled right; mean recall over classes "
        "(clusters after matching); labeled right after the best one-to-one matching of labels with "
        "classes; normalized mutual information; adjusted Rand index. Empty: classes that no such image is "
        "labeled with."
    ]
    header = columns("labeler", "labels", *QUALITY_HEADER)
    return Table("Pseudo-labels", header, body, notes, keys=2) if body else None


def tuned_table(board: Board) -> Table | None:
    """The values that tuning gave to fields, by ratio."""
    body = []
    for rows in board.methods(reference=False):
        for name in dict.fromkeys(name for row in rows for name in row.tuned):
            found = (at(rows, ratio).values() for ratio in board.ratios)
            values = [sorted({row.tuned[name] for row in group if name in row.tuned}) for group in found]
            shown = [alternatives(group) for group in values]
            trials = Number(max(row.trials for row in rows), "trainings")
            body.append(Row([Text(rows[0].title), Text(name), trials, *shown]))
    header = columns("method", "field", "trials", ratios=board.ratios)
    judges = sorted({row.tuned_on for row in board.rows if row.tuned})
    notes = [f"Chosen by {' and '.join(judges)}. Trials: trainings of the search behind a cell, at most."]
    return Table("Tuned values", header, body, notes, keys=2) if body else None


def alternatives(values: Iterable[float]) -> Alternatives | Gap:
    """Return the cell of values that a field was given, each in some run; a gap where there are none."""
    found = tuple(Number(value, "value") for value in values)
    return Alternatives(found) if found else Gap()


def regret_table(board: Board) -> Table | None:
    """What the search lost against a choice on the test split, where both were run."""
    own = board.rows[0]
    searched = board.methods(reference=False) if own.tuning == "search" else []
    judged = board.beside(tuning="oracle_test") if searched else []
    body = []
    for rows in searched:
        other = [row for row in judged if row.method == rows[0].method]
        if other and any(row.tuned for row in rows):
            cells = [_difference(at(other, ratio), at(rows, ratio), board) for ratio in board.ratios]
            body.append(Row([Text(rows[0].title), *cells]))
    header = columns("method", ratios=board.ratios)
    notes = [
        "Percentage points that the same grids give more where the test split chooses, which nobody may "
        "do: mean ± standard deviation of the differences of runs with the same seed."
    ]
    return Table("Regret of the search", header, body, notes) if body else None


def cost_table(board: Board) -> Table:
    """What selection and training cost, per cell, as if each cell had been run alone."""
    body = []
    for rows in board.methods(reference=False):
        labels = mean([row.labels_selection for row in rows], "labels")
        selection = mean([work_tables.selection_seconds(row) for row in rows], "seconds")
        training = _per_ratio(rows, board.ratios, _training_seconds, "seconds")
        lost = _per_ratio(rows, board.ratios, _lost_classes, "classes")
        body.append(Row([Text(rows[0].title), labels, selection, training, lost]))
    header = [
        *columns("method", "labels to select", "seconds to select"),
        Column("seconds to train", ratios=tuple(board.ratios)),
        Column("classes lost"),
    ]
    devices = sorted({f"{row.device_name} ({row.device})" for row in board.rows})
    notes = [
        f"Mean seconds of computation on {', '.join(devices)}. "
        "Classes lost: those with no image kept, mean over seeds."
    ]
    return Table("Cost", header, body, notes)


def _training_seconds(row: Result) -> float:
    return row.seconds.get("accuracy", 0.0)


def _lost_classes(row: Result) -> float:
    return row.lost_classes


def _per_ratio(
    rows: Sequence[Result], ratios: Iterable[int], value: Callable[[Result], float], unit: str
) -> PerRatio:
    found = {ratio: [value(row) for row in at(rows, ratio).values()] for ratio in ratios}
    return PerRatio(tuple((ratio, mean(values, unit)) for ratio, values in found.items()))


def tables(board: Board) -> list[Table]:
    """Return the tables of one board."""
    makers = (
        accuracy_table,
        rank_tables.ranks_table,
        rank_tables.intervals_table,
        reference_table,
        difference_table,
        rank_tables.components_table,
        equal_labels_table,
        work_tables.equal_work_table,
        class_tables.worst_classes_table,
        class_tables.balanced_table,
        labels_table,
        tuned_table,
        regret_table,
        work_tables.work_table,
        work_tables.break_even_table,
        cost_table,
    )
    own = [table for maker in makers if (table := maker(board)) is not None]
    return [*own, *(table for provide in board.page.providers for table in provide(board))]
