"""The generated blocks of the README. `python tests/readme_blocks.py` writes them; a test compares them."""

from __future__ import annotations

import re
from pathlib import Path

from tabulate import tabulate

from prunebench import leaderboard
from prunebench.pages import page_of
from prunebench.registry import load

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def quickstart() -> str:
    """Return the accuracy table of the committed quickstart rows."""
    board = leaderboard.boards(page_of("quickstart", ROOT / "leaderboard"))[0]
    table = leaderboard.accuracy_table(board)
    note = f"{board.page.note} {table.notes[0]}"
    return f"{tabulate(table.body, table.header, tablefmt='github', disable_numparse=True)}\n\n{note}"


def methods() -> str:
    """Return the table of the built-in methods."""
    rows = []
    for name, method in load().found["methods"].items():
        if load().owners["methods", name] == "prunebench":
            parts = " + ".join(part.name for part in method.parts.values())
            kind = "reference" if method.reference else "method"
            rows.append([f"`{name}`", method.title, parts, f"{method.annotation:.0%}", kind])
    header = ["name", "title", "parts", "labels to select", ""]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def filled(text: str) -> str:
    """Return the README with its generated blocks made anew."""
    for name, make in (("quickstart", quickstart), ("methods", methods)):
        marker = f"<!-- {name}: made by tests/readme_blocks.py -->"
        block = f"{marker}\n{make()}\n<!-- end -->"
        text = re.sub(f"{re.escape(marker)}.*?<!-- end -->", lambda _: block, text, count=1, flags=re.DOTALL)  # noqa: B023
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
