"""Published numbers beside ours: per line, how far apart, and whether chance would do. Pure: no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunebench.paper import published
from prunebench.paper.published import (
    Line,
    PublishedAblation,
    PublishedAccuracy,
    PublishedBudget,
    PublishedQuality,
)
from prunebench.results.board import Board, at, by_seed
from prunebench.results.cells import (
    Cell,
    Difference,
    Gap,
    Measured,
    Number,
    Row,
    Table,
    Text,
    columns,
)
from prunebench.results.rows import Result
from prunebench.results.statistics import prediction_interval, summarize
from prunebench.results.tables import alternatives

Methods = Mapping[tuple[str, str], Sequence[Result]]  # rows by dataset and method
RUNS = (1, 5)  # of how many runs a published number may be the mean; the paper does not say
ACCURACIES = (PublishedAccuracy, PublishedBudget, PublishedAblation)
QUALITY = {"ACC": "accuracy", "ACC_parenthesised": "balanced", "NMI": "nmi", "ARI": "ari"}
METRICS = {"ACC": "labeled right", "ACC_parenthesised": "balanced (in parentheses)"}
COST_STAGE = {"elfs_swav": "embeddings", "semi_aum": "labels"}  # which one trains on the dataset
CHANCE = (
    "Inside: the published number is where a further mean of m runs of ours would be in 95 % of cases, "
    "mean ± t s sqrt(1/n + 1/m), for m = 1 and for m = 5, since the paper does not say of how many runs its "
    "numbers are means. By chance alone one cell in twenty is outside."
)


@dataclass(frozen=True)
class Compared:
    """A published percentage and ours, one value per seed. last: accuracies of the last epoch, per seed.

    ours: for an accuracy that of the best epoch on the test split, an oracle, since theirs is one.
    """

    line: Line
    theirs: float
    ours: tuple[float, ...]
    last: tuple[float, ...] = ()

    @property
    def difference(self) -> float:
        """Our mean minus the published number."""
        return summarize(self.ours).mean - self.theirs

    def interval(self, runs: int) -> tuple[float, float] | None:
        """Where the mean of `runs` further runs would lie with 95 % probability. None: no spread is known."""
        return prediction_interval(self.ours, runs)

    def inside(self, runs: int) -> bool | None:
        """Whether the published number lies in that interval; None where there is none."""
        found = self.interval(runs)
        return None if found is None else found[0] <= self.theirs <= found[1]

    @property
    def verdict(self) -> str:
        """The same for all of `RUNS`, in words; the more runs, the narrower."""
        found = [self.inside(runs) for runs in RUNS]
        if None in found:
            return "no interval"
        return "inside" if all(found) else "outside" if not any(found) else f"outside for m = {RUNS[-1]}"


def compare(rows: Iterable[Result], lines: Iterable[Line]) -> list[Compared]:
    """Return every line of percentages of which there are rows, beside these.

    rows: of one recipe, tuning, repeats and protocol, as on a `Board`.
    """
    methods = _by_method(rows)
    return [one for line in lines if (one := _compared(line, _rows_of(line, methods))) is not None]


def _by_method(rows: Iterable[Result]) -> Methods:
    found: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        found.setdefault((row.dataset, row.method), []).append(row)
    return found


def _rows_of(line: Line, methods: Methods) -> dict[int, Result]:
    """Return the rows of the cell that a line is about, by seed."""
    _, dataset, method, ratio = published.key(line)
    found = methods.get((dataset, method), ())
    return by_seed(found) if ratio is None else at(found, ratio)


def _compared(line: Line, rows: Mapping[int, Result]) -> Compared | None:
    if isinstance(line, PublishedQuality):
        judged = [row.quality for row in once(rows) if row.quality]
        values = tuple(quality(found, line.metric) for found in judged)
        return Compared(line, line.percent, values) if values else None
    if not isinstance(line, ACCURACIES) or not rows:
        return None
    best = tuple(row.best_accuracy for row in rows.values())
    return Compared(line, line.percent, best, tuple(row.accuracy for row in rows.values()))


def once(rows: Mapping[int, Result]) -> list[Result]:
    """Return a row for each labeler that was trained: the first where all seeds share one."""
    found: dict[int, Result] = {}
    for seed in sorted(rows):
        found.setdefault(rows[seed].labeler_repeat, rows[seed])
    return list(found.values())


def quality(found: Mapping[str, float], metric: str) -> float:
    """Return a metric of the paper's from the quality of our labels; clusters are matched with classes."""
    return found["hungarian"] if metric == "ACC" and "accuracy" not in found else found[QUALITY[metric]]


def tables(board: Board) -> list[Table]:
    """Return the published numbers beside those of a board: accuracy, labels, cutoffs, cost.

    The paper trains networks on images from scratch. Heads on frozen features have nothing to be beside.
    """
    if any(row.final_network for row in board.rows):
        return []
    makers = (accuracy_table, quality_table, cutoff_table, cost_table)
    return [table for maker in makers if (table := maker(board)) is not None]


def _lines(board: Board) -> list[Line]:
    """Return the lines of accuracies for a board: its suite's own, or else those of tables 2 to 5."""
    every = [line for line in published.lines() if isinstance(line, ACCURACIES)]
    own = [line for line in every if published.key(line).suite == board.page.suite]
    return [line for line in own or published.accuracies() if line.dataset == board.rows[0].dataset]


def accuracy_table(board: Board) -> Table | None:
    """Published accuracies, ours of the best and of the last epoch, by method and ratio."""
    found = {published.key(one.line): one for one in compare(board.rows, _lines(board))}
    if not found:
        return None
    ratios = sorted({key.ratio for key in found if key.ratio is not None})
    titles = {rows[0].method: rows[0].title for rows in board.methods(reference=False)}
    footnotes = Footnotes([one.line for one in found.values()])
    body = []
    suite, dataset, *_ = next(iter(found))
    for method in [name for name in titles if any(key.method == name for key in found)]:
        cells = [found.get(published.Key(suite, dataset, method, ratio)) for ratio in ratios]
        shared = footnotes.shared([one.line for one in cells if one])
        theirs = [_theirs(one, footnotes) for one in cells]
        ours: dict[str, Sequence[Cell]] = {
            "ours, best epoch (oracle)": [Measured.over(one.ours) if one else Gap() for one in cells],
            "ours − published": [_apart(one) for one in cells],
            "ours, last epoch": [Measured.over(one.last) if one else Gap() for one in cells],
        }
        body.append(Row([Text(titles[method]), Text("published", footnotes=shared), *theirs]))
        again = Text(titles[method], again=True)
        body += [Row([again, Text(name), *line]) for name, line in ours.items()]
    header = columns("method", "", ratios=ratios)
    notes = [*_explained(board, list(found.values())), *footnotes.texts]
    return Table("Published beside ours", header, body, notes, keys=2)


def _theirs(one: Compared | None, footnotes: Footnotes) -> Number | Gap:
    if one is None:
        return Gap()
    decimals = 2 if isinstance(one.line, PublishedBudget) else 1  # as printed
    return Number(one.theirs, "percent", decimals=decimals, footnotes=footnotes.own(one.line))


def _apart(one: Compared | None) -> Difference | Gap:
    if one is None:
        return Gap()
    return Difference(one.difference, None, len(one.ours), verdict=one.verdict)


def _explained(board: Board, found: Sequence[Compared]) -> list[str]:
    """Return what a table of comparisons says below: what is compared, chance, and how many are inside."""
    inside = {runs: sum(one.inside(runs) is True for one in found) for runs in RUNS}
    alone = sum(one.inside(1) is None for one in found)
    counts = [f"{count} of {len(found)} cells inside for m = {runs}" for runs, count in inside.items()]
    counts += [f"{alone} without an interval, as no spread is known"] if alone else []
    notes = [
        "SemiPrune's own numbers, in percent, with our mean ± standard deviation over seeds. "
        "The difference is to our best epoch on the test split, since theirs is one; our last epoch ranks.",
        f"{CHANCE} Here: {', '.join(counts)}.",
    ]
    if board.rows[0].recipe != "paper":
        notes.append(
            f"Recipe {board.rows[0].recipe} is not the paper's training: the numbers need not agree."
        )
    if board.rows[0].repeats == "training":
        notes.append("Our seeds repeat selection and training only: a whole new pipeline would spread wider.")
    return notes


class Footnotes:
    """The remarks on some lines of a table, numbered, and those on all of them, which need no number."""

    def __init__(self, lines: Sequence[Line]) -> None:
        """Find the remarks on `lines`, all that a table shows."""
        found = [(note.text, [line for line in lines if note.concerns(line)]) for note in published.notes()]
        self.general = [text for text, on in found if lines and len(on) == len(lines)]
        self.numbered = [(text, on) for text, on in found if 0 < len(on) < len(lines)]
        self._shared: set[tuple[int, int]] = set()

    @property
    def texts(self) -> list[str]:
        """The remarks as lines below a table."""
        return [*self.general, *(f"[{n}] {text}" for n, (text, _) in enumerate(self.numbered, 1))]

    def shared(self, lines: Sequence[Line]) -> tuple[int, ...]:
        """Return the numbers of the remarks on all of `lines`, which then are not marked one by one."""
        numbers = [
            number for number, (_, on) in enumerate(self.numbered, 1) if all(line in on for line in lines)
        ]
        self._shared |= {(number, id(line)) for number in numbers for line in lines}
        return tuple(numbers)

    def own(self, line: Line) -> tuple[int, ...]:
        """Return the numbers of the remarks on one line, without those already shown for many."""
        numbers = (number for number, (_, on) in enumerate(self.numbered, 1) if line in on)
        return tuple(number for number in numbers if (number, id(line)) not in self._shared)


def quality_table(board: Board) -> Table | None:
    """Published qualities of pseudo-labels beside ours, on all training images."""
    found = compare(board.rows, published.qualities())
    footnotes = Footnotes([one.line for one in found])
    merged: dict[tuple[Cell, ...], list[str]] = {}  # what both tables print is shown once
    for one in found:
        assert isinstance(one.line, PublishedQuality)
        metric = METRICS.get(one.line.metric, one.line.metric)
        numbers = (_theirs(one, footnotes), Measured.over(one.ours), _apart(one))
        where = merged.setdefault((Text(one.line.labeler), Text(metric), *numbers), [])
        where.append({"table1": "table 1", "appendixB": "appendix B.1"}[one.line.table])
    body = [Row([*what, Text(", ".join(where))]) for what, where in merged.items()]
    header = columns("labeler", "in percent", "published", "ours", "ours − published", "published in")
    notes = ["Clusters count as right after the best one-to-one matching with classes.", CHANCE]
    notes += footnotes.texts
    return Table("Published pseudo-labels beside ours", header, body, notes, keys=2) if body else None


def cutoff_table(board: Board) -> Table | None:
    """Published cutoffs of Semi-AUM beside those that our search chose."""
    lines = [line for line in published.cutoffs() if line.dataset == board.rows[0].dataset]
    rows = [row for row in board.rows if "cutoff" in row.tuned and row.tuning != "published"]
    methods = _by_method(rows)
    chosen = {line: _rows_of(line, methods) for line in lines}
    if not any(chosen.values()):
        return None
    ratios = sorted({line.ratio for line in lines})
    body = []
    for reading in dict.fromkeys(line.reading for line in lines):
        printed = {line.ratio: [line.cutoff] for line in lines if line.reading == reading}
        cells = [alternatives(printed.get(ratio, ())) for ratio in ratios]
        body.append(Row([Text(reading.replace("_", " ")), *cells]))
    ours = {line.ratio: found for line, found in chosen.items()}
    values = [sorted({row.tuned["cutoff"] for row in ours.get(ratio, {}).values()}) for ratio in ratios]
    body.append(Row([Text("ours, chosen"), *map(alternatives, values)]))
    header = columns("share cut at the hard end", ratios=ratios)
    notes = [f"Ours were chosen on {rows[0].tuned_on}.", *Footnotes(lines).texts]
    return Table("Published cutoffs beside ours", header, body, notes)


def cost_table(board: Board) -> Table | None:
    """Published hours of training on the dataset for its pseudo-labels, beside ours."""
    lines = [line for line in published.costs() if line.dataset == board.rows[0].dataset]
    footnotes, body = Footnotes(lines), []
    methods = _by_method(board.rows) if lines else {}
    for line in lines:
        found = [hours(row) for row in once(_rows_of(line, methods))]
        known = [value for value in found if value is not None]
        if known:
            theirs = Number(line.gpu_hours, "GPU-hours", footnotes=footnotes.own(line))
            ours = Number(summarize(known).mean, "hours")
            epochs = Number(line.epochs, "epochs")
            body.append(Row([Text(line.labeler), Text(line.backbone), epochs, theirs, ours]))
    devices = ", ".join(sorted({row.device_name for row in board.rows}))
    header = columns("labeler", "published network", "published epochs", "published GPU-hours", "our hours")
    notes = [f"Published on RTX A6000 GPUs, ours on {devices}, one at a time.", *footnotes.texts]
    return Table("Published cost beside ours", header, body, notes) if body else None


def hours(row: Result) -> float | None:
    """Return how long the labeler of a row trained on the dataset. None if its row does not say.

    The embeddings of a frozen backbone, which a head sees, are the same stage as those of SwAV.
    """
    stage = COST_STAGE.get(row.method)
    frozen = "on frozen embeddings of" in (row.final_network or "")
    frozen = frozen or any(change.startswith("proxy_backbone=") for change in row.recipe_changes)
    if stage not in row.seconds or (stage == "embeddings" and frozen):
        return None
    return row.seconds[stage] / 3600
