"""What a page says, whatever its format: the tables of its boards, and the words around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prunebench.results import losses
from prunebench.results.across import across_table, groups
from prunebench.results.board import DEMONSTRATION, Board, Page, boards, stems
from prunebench.results.cells import Table
from prunebench.results.picture import Picture, pictures
from prunebench.results.rows import Result
from prunebench.results.standing import Standing, standing
from prunebench.results.tables import tables

OF_ROWS = ("dataset", "recipe", "repeats", "tuning", "protocol_version", "dataset_hash", "images")
SETTING = ("recipe_changes", *OF_ROWS)
MOST_ABSENT = 12  # methods without a row that are named
WARNING = "Demonstration. Says nothing about the paper's datasets."
TUNING = {
    "default": "default",
    "search": "search, each value chosen by the labeler's labels of a tenth of the labeled images",
    "published": "published, the cutoffs printed for Semi-AUM, which may have been chosen on the test split",
    "oracle_test": "oracle, each value chosen on the test split: to study the gap, never a result",
}


@dataclass(frozen=True)
class Section:
    """The tables of one board.

    setting: what all its rows share, by the name of the field.
    warning: what to know before any number is read.
    facts: the setting in words.
    words: sentences on where methods lose, see `prunebench.results.losses`.
    standing: None of a section about several boards.
    pictures: its figures, each to stand above one of these tables.
    more: the page that has all tables, by its path below the folder of pages, where these are a selection.
    """

    heading: str
    setting: Mapping[str, str | int]
    warning: str | None
    facts: str
    tables: Sequence[Table]
    words: Sequence[str] = ()
    standing: Standing | None = None
    pictures: Sequence[Picture] = ()
    more: str = ""


@dataclass(frozen=True)
class Document:
    """A page to be written in some format. Its words may be those of strangers: a format escapes them.

    remarks: a line for whatever keeps rows from the tables, or makes them doubtful.
    """

    suite: str
    title: str
    note: str
    sections: Sequence[Section]
    remarks: Sequence[str]


def document(page: Page, *, only: Callable[[Table], bool] = lambda table: True) -> Document:
    """Return what a page says; of the tables, those for which `only` holds."""
    found = boards(page)
    sections = [
        _section(board, stem, [*filter(only, tables(board))])
        for board, stem in zip(found, stems(found), strict=True)
    ]
    for group in groups(found):
        if (table := across_table(group)) is not None:
            sections.append(_summary(group, [*filter(only, [table])]))
    return Document(page.suite, page.title, page.note, sections, remarks(page))


def _section(board: Board, stem: str, shown: Sequence[Table]) -> Section:
    row = board.rows[0]
    found = standing(board)
    demonstration = row.recipe == DEMONSTRATION and not board.page.note
    return Section(
        heading=board.heading,
        setting={"recipe_changes": board.recipe_changes} | {name: getattr(row, name) for name in OF_ROWS},
        warning=WARNING if demonstration else None,
        facts=" ".join([facts(board.rows), evidence(found), *absent(board)]),
        tables=shown,
        words=losses.sentences(board),
        standing=found,
        pictures=pictures(board, stem),
    )


def _summary(group: Sequence[Board], shown: Sequence[Table]) -> Section:
    """Return the section about all boards of a group, which differ in their dataset alone."""
    first = group[0]
    datasets = ", ".join(dict.fromkeys(board.rows[0].dataset for board in group))
    own = {"recipe_changes": first.recipe_changes} | {name: getattr(first.rows[0], name) for name in OF_ROWS}
    return Section(
        heading=f"All datasets, recipe {first.rows[0].recipe}",
        setting=own | {"dataset": datasets, "dataset_hash": "", "images": ""},
        warning=None,
        facts=f"Datasets: {datasets}.",
        tables=shown,
    )


def conflicts(page: Page) -> list[str]:
    """Return a line for each cell whose rows do not agree; such a cell is flagged, not averaged away."""
    lines = []
    for cell in page.disputed:
        rows = [row for row in page.rows if row.cell == cell]
        values = ", ".join(f"{row.accuracy:.2f} ({row.date}, {row.id})" for row in rows)
        row = rows[0]
        lines.append(
            f"{row.method} on {row.dataset} at {row.ratio}, seed {row.seed}: rows disagree: {values}"
        )
    return lines


def machine_lines(page: Page) -> list[str]:
    """Return a line about the rows of other machines than the one whose rows are shown, if there are any."""
    if not page.elsewhere:
        return []
    gaps = [abs(first.accuracy - row.accuracy) for first, row in page.elsewhere]
    return [
        f"{len(gaps)} row(s) are of another machine, which rounds otherwise: they differ by "
        f"{sum(gaps) / len(gaps):.1f} points on average, {max(gaps):.1f} at most. "
        "Of each cell the first certified row is shown, else the first row."
    ]


def failure_lines(page: Page) -> list[str]:
    """Return a line for each reason for which cells of a method failed."""
    found = Counter((one.method, one.dataset, one.failed) for one in page.failures if not page.stale(one))
    return [
        f"failed: {count} cell(s) of {method} on {dataset}: {why}"
        for (method, dataset, why), count in sorted(found.items())
    ]


def stale_lines(page: Page) -> list[str]:
    """Return a line for each method whose rows were made with other settings than the suite's."""
    if len(page.fresh) == len(page.rows):
        return []
    found = Counter((row.method, row.dataset, row.method_key) for row in page.rows if page.stale(row))
    return [
        f"stale: {count} row(s) of {method} on {dataset} were made with other settings and are left out"
        for (method, dataset, _), count in sorted(found.items())
    ]


def facts(rows: Sequence[Result]) -> str:
    """Return in words what all rows of a board share."""
    row = rows[0]
    final_networks = sorted({row.final_network for row in rows if row.final_network})
    repeats = {
        "pipeline": "each seed repeats everything: label draw, labeler, proxy, scores, selection, training",
        "labeler": "each seed repeats everything but the label draw, which all share",
        "proxy": "each seed repeats proxy, scores, selection and training, on the labels of one labeler",
        "training": "each seed repeats selection and training only, on the scores of one pipeline",
    }[row.repeats]
    if row.tuning in ("search", "oracle_test") and row.repeats == "pipeline":
        repeats += "; tuned values were chosen once, on the pipeline of seed 0"
    network = "".join(f"Final networks: {name}. " for name in final_networks)
    return (
        f"{row.images} training images. {network}Repeats: {repeats}. Tuning: {TUNING[row.tuning]}. "
        f"Protocol {row.protocol_version}, dataset {row.dataset_hash[:12]}."
    )


def evidence(found: Standing) -> str:
    """Return in words how many cells of a board have a certified row, and how many a verified one."""
    return (
        f"Of {found.cells} cells, {found.certified} have a certified row and {found.verified} a verified one."
    )


def absent(board: Board) -> list[str]:
    """Return a sentence on the methods of the suite that have no row on a board, if there are any."""
    present = {row.method for row in board.rows}
    missing = [name for name in board.page.methods if name not in present]
    if not missing:
        return []
    named, others = missing[:MOST_ABSENT], len(missing) - MOST_ABSENT
    names = ", ".join([*named, f"{others} others"] if others > 0 else named)
    return [f"Of {len(board.page.methods)} methods of the suite, {len(missing)} have no row: {names}."]


def remarks(page: Page) -> list[str]:
    """Return a line for whatever keeps rows from the tables, or makes them doubtful."""
    return [
        *conflicts(page),
        *machine_lines(page),
        *failure_lines(page),
        *stale_lines(page),
        *page.complaints,
    ]
