"""The tables of a page as markdown or plain text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from prunebench.results.board import Board, Page, Table, boards
from prunebench.results.rows import Result
from prunebench.results.tables import tables
from prunebench.system import escaping

MARKS = re.compile(r"\*\*|</?u>|(?<!\S)\*|\*(?!\S)")  # of best, second and references
DEMONSTRATION = "Demonstration. Says nothing about the paper's datasets."
TUNING = {
    "default": "default",
    "search": "search, each value chosen by the labeler's labels of a tenth of the labelled images",
    "published": "published, the cutoffs printed for Semi-AUM, which may have been chosen on the test split",
    "oracle_test": "oracle, each value chosen on the test split: to study the gap, never a result",
}


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
