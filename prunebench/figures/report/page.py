"""Contents -> one HTML file. It holds its script, style and images, and asks for no address."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from prunebench.figures.report.content import Contents
from prunebench.results import losses
from prunebench.results.cells import Alternatives, Between, Cell, Measured, Number, OverRuns, PerRatio, Text
from prunebench.results.spelling import explained, heading, spelled
from prunebench.system.escaping import plain
from prunebench.system.files import taken, writing

FOLDER = Path(__file__).parent / "html"
STYLE, THEME = FOLDER / "page.css", FOLDER / "theme.js"
MARK = b'<meta name="generator" content="prunebench">'  # of every page, by which a later one replaces it
SCRIPTS = ("svg.js", "charts.js", "stored.js", "tables.js", "page.js", "theme.js")


def render(suites: Sequence[Contents]) -> str:
    """Return the contents of at least one suite as HTML. All their words are escaped."""
    template = environment(FOLDER).get_template("page.html")
    contents = [content for suite in suites for content in suite.boards]
    values = [content.values for content in contents]
    return template.render(
        contents=contents,
        overviews=[overview for suite in suites for overview in suite.overviews],
        values=htmlsafe_json_dumps(values, dumps=partial(json.dumps, default=vars, separators=(",", ":"))),
        several=len({content.suite for content in contents}) > 1,
        words_note=losses.NOTE,
        notes=partial(explained, escaped=str, best="Bold", second="underlined"),
        **inlined([STYLE], [FOLDER / name for name in SCRIPTS]),
    )


def check_replaceable(path: Path) -> None:
    """Raise PrunebenchError if there is a file that is no page of prunebench. Call it before computing."""
    with writing(path, "--output"):
        if path.exists() and MARK not in path.read_bytes():
            raise taken(path)


def environment(folder: Path) -> Environment:
    """Return what fills the templates of a folder. All words are escaped, and each is one line."""
    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"text": text, "heading": heading, "amount": amount, "mark": mark}
    return found


def inlined(styles: Sequence[Path], scripts: Sequence[Path]) -> dict[str, str]:
    """Return `style` and `script` for a template, and what a browser checks them against.

    A page says these hashes first, so no other style or script in it has an effect.
    """
    style, script = (
        "".join(path.read_text(encoding="utf-8") for path in paths) for paths in (styles, scripts)
    )
    return {
        "style": Markup(style),
        "style_hash": _hash(style),
        "script": Markup(script),
        "script_hash": _hash(script),
    }


def text(cell: Cell) -> str:
    """Return the words of a cell, also where the row above has them: a sorted table has other rows above."""
    return spelled(replace(cell, again=False) if isinstance(cell, Text) else cell)


def amount(cell: Cell) -> float | None:
    """Return the number by which a cell is sorted, or None for words and gaps."""
    match cell:
        case OverRuns():
            return cell.mean
        case Number():
            return cell.value
        case Between():
            return cell.low
        case Alternatives():
            return amount(cell.cells[0])
        case PerRatio():
            return amount(cell.cells[0][1])
        case _:
            return None


def mark(cell: Cell) -> str:
    """Return the class of a cell that stands out: best, second or ""."""
    rank = cell.rank if isinstance(cell, Measured) else None
    return {1: "best", 2: "second"}.get(rank or 0, "")


def _plain(value: object) -> object:
    """Return text as one line without control characters. The template then escapes it."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _hash(source: str) -> str:
    """Return what a browser compares an inline script or style with, before it runs it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
