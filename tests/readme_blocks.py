"""The generated blocks of documents. `python tests/readme_blocks.py` writes them. A test checks them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from prunebench.parts.registry import load
from prunebench.results import tables
from prunebench.results.board import boards
from prunebench.results.render.markdown import grid
from prunebench.results.spelling import words
from prunebench.runs.pages import page_of

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
METHODS = ROOT / "docs" / "methods" / "README.md"
# The methods of the small table: a baseline, then a few of each kind of label budget.
SHOWN = ("random", "elfs_pixels", "zcore_pixels", "semi_aum", "semi_dual", "dual")


def quickstart() -> str:
    """Return the methods in SHOWN from the accuracy table of the committed quickstart rows."""
    page = page_of("quickstart", ROOT / "leaderboard")
    board = boards(page)[0]
    titles = {load().get("methods", name).title for name in SHOWN}
    table = tables.accuracy_table(board)
    rows = [row for row in table.rows if words(row.cells[0]) in titles]
    note = f"{board.page.note} {table.notes[0]}"
    return f"{grid(replace(table, rows=rows))}\n\n{note}"


def methods() -> str:
    """Return the table of the built-in methods, without those of other plugins."""
    rows = []
    registry = load()
    for name, method in registry.found["methods"].items():
        if registry.owners["methods", name] == "prunebench":
            parts = " + ".join(_link(part.name) for part in method.parts.values())
            kind = "reference" if method.reference else "method"
            rows.append([f"`{name}`", method.title, parts, f"{method.annotation:.0%}", kind])
    return _markdown(rows, ["name", "title", "parts", "labels to select", ""])


def _link(part: str) -> str:
    return f"[{part}]({part}.md)"


def _markdown(body: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


BLOCKS = {README: ("quickstart", quickstart), METHODS: ("methods", methods)}


def filled(path: Path) -> str:
    """Return the text of a document with its generated block brought up to date."""
    name, make = BLOCKS[path]
    marker = f"<!-- {name}: made by tests/readme_blocks.py -->"
    block = f"{marker}\n{make()}\n<!-- end -->"
    text = path.read_text(encoding="utf-8")
    # A function, not the text itself: `re.sub` would read backslashes in it.
    return re.sub(f"{re.escape(marker)}.*?<!-- end -->", lambda _: block, text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    for path in BLOCKS:
        path.write_text(filled(path), encoding="utf-8")
