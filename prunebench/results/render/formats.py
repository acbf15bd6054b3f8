"""The formats of `prunebench leaderboard --format`, by name. A new one is a module and an entry here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prunebench.results.document import Document
from prunebench.results.render.csv import csv
from prunebench.results.render.json import json
from prunebench.results.render.latex import latex
from prunebench.results.render.markdown import markdown
from prunebench.results.render.text import text

Format = Callable[[Sequence[Document]], str]  # returns whole lines
FORMATS: dict[str, Format] = {
    "markdown": markdown,
    "text": text,
    "csv": csv,
    "latex": latex,
    "json": json,
}
