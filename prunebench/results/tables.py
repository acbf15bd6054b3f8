"""Rows -> the tables of one dataset. Pure: no files, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunebench.parts.sampling import READ_ALL
from prunebench.results.board import GAP, GROUPS, Board, Page, Table, at, by_seed, complete, label_usage, show
from prunebench.results.rows import Result
from prunebench.results.statistics import Summary, summarise

QUALITY_HEADER = ["right", "balanced", "after matching", "NMI", "ARI", "empty classes"]
TESTED = ("accuracy", "labeler_accuracy")  # stages that come after the selection


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
    return sum(seconds for stage, seconds in row.seconds.items() if stage not in TESTED)


def _seconds_at(rows: Sequence[Result], ratio: int) -> str:
    found = at(rows, ratio).values()
    return _seconds(summarise([row.seconds.get("accuracy", 0.0) for row in found])) if found else GAP


def _seconds(found: Summary) -> str:
    return f"{found.mean:.1f}" if found.mean < 100 else f"{found.mean:.0f}"


def _lost(rows: Mapping[int, Result]) -> str:
    return f"{summarise([row.lost_classes for row in rows.values()]).mean:g}"[:4] if rows else GAP


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
    return [*own, *(table for provide in board.page.providers for table in provide(board))]
