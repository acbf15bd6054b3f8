"""The generated blocks of documents. `python tests/readme_blocks.py` writes them. A test checks them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from tabulate import tabulate

from prunebench.parts.base import Part
from prunebench.parts.registry import load
from prunebench.results import tables
from prunebench.results.board import boards
from prunebench.results.render.markdown import grid, notes
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
    note = f"{board.page.note} {notes(table)[0]}"
    return f"{grid(replace(table, rows=rows))}\n\n{note}"


def methods() -> str:
    """Return the table of the built-in methods, without those of other plugins."""
    rows = []
    registry = load()
    for name, method in registry.found["methods"].items():
        if registry.owners["methods", name] == "prunebench":
            parts = " + ".join(_link(part.name) for part in method.parts.values())
            kind = "reference" if method.reference else "method"
            rows.append([f"`{name}`", method.title, parts, f"{method.label_fraction:.0%}", kind])
    return _markdown(rows, ["name", "title", "parts", "labels to select", ""])


def _link(part: str) -> str:
    return f"[{part}]({part}.md)"


def part_fields(page: Path) -> str:
    """Return the table of the fields of a part: names, defaults, and meanings from the docstrings."""
    cls = documented()[page.stem]
    meanings = described(cls)
    rows = [[f"`{entry.name}`", _default(entry), meanings[entry.name]] for entry in fields(cls)]
    return _markdown(rows, ["field", "default", "meaning"])


@cache
def documented() -> dict[str, type[Part]]:
    """Return the built-in parts that have fields and a page of their own, by name."""
    registry = load()
    found: dict[str, type[Part]] = {}
    for kind in ("backbones", "labelers", "scorers", "selectors", "draws"):
        for name, cls in registry.found[kind].items():
            page = METHODS.parent / f"{name}.md"
            if (
                name not in found
                and fields(cls)
                and page.exists()
                and f"<!-- {BLOCK}:" in page.read_text(encoding="utf-8")
            ):
                found[name] = cls
    return found


def described(cls: type) -> dict[str, str]:
    """Return what the docstrings of a class and of its bases say of each field, by name."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        name = ""
        for line in inspect.cleandoc(vars(base).get("__doc__") or "").splitlines():
            entry = re.match(r"(\w+): (.+)", line)
            if entry:
                name, meanings[entry[1]] = entry[1], entry[2]
            elif name and line.startswith("    "):
                meanings[name] += f" {line.strip()}"
            else:
                name = ""
    return meanings


def _default(entry: Field[Any]) -> str:
    """Spell the default of a field as a suite file would."""
    value = entry.default
    if value is None:
        return "unset"
    if isinstance(value, Part):
        return f'`{{part = "{value.name}"}}`'
    if value is MISSING:
        return "required"
    return f"`{json.dumps(value)}`"


def _markdown(body: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


BLOCK = "fields"


def blocks() -> dict[Path, tuple[str, Callable[[], str]]]:
    """Return the documents with a generated block: its name, and the function that makes it."""
    pages = [METHODS.parent / f"{name}.md" for name in documented()]
    parts = {page: (BLOCK, partial(part_fields, page)) for page in pages}
    return {README: ("quickstart", quickstart), METHODS: ("methods", methods), **parts}


def filled(path: Path) -> str:
    """Return the text of a document with its generated block brought up to date."""
    name, make = blocks()[path]
    marker = f"<!-- {name}: made by tests/readme_blocks.py -->"
    block = f"{marker}\n{make()}\n<!-- end -->"
    text = path.read_text(encoding="utf-8")
    # A function, not the text itself: `re.sub` would read backslashes in it.
    return re.sub(f"{re.escape(marker)}.*?<!-- end -->", lambda _: block, text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    for path in blocks():
        path.write_text(filled(path), encoding="utf-8")
