"""Durations, sizes and tables as text."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from prunebench.system.escaping import plain

if TYPE_CHECKING:
    from prunebench.pipeline.stage import Stage


def duration(seconds: float | None) -> str:
    """Return a duration as a text: 8.0 s, 30 min, 2.5 h, 4 d, or ? for None."""
    if seconds is None:
        return "?"
    for limit, unit, length in ((99, "s", 1), (99 * 60, "min", 60), (72 * 3600, "h", 3600)):
        if seconds < limit:
            return _in_units(seconds / length, unit)
    return f"{seconds / 86400:.0f} d"


def size(count: float) -> str:
    """Return a number of bytes as a text: 8.0 kB, 32 MB, 250 GB."""
    for limit, unit, length in ((1e6, "kB", 1e3), (1e9, "MB", 1e6)):
        if count < limit:
            return _in_units(count / length, unit)
    return _in_units(count / 1e9, "GB")


def _in_units(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def stage_name(stage: Stage, methods: Collection[str]) -> str:
    """Return what a stage is, in few words: its kind, what it runs or is for, dataset, ratio and seed.

    methods: the names of the methods that need it.
    """
    if stage.ratio is not None and len(methods) == 1:
        [what] = methods
    else:
        what = re.split("[(,]", stage.title)[0]  # without its values
    kind = stage.kind if stage.kind != what else ""
    seed = stage.identity.get("seed")
    ratio = f"{stage.ratio} %" if stage.ratio is not None else ""
    repeat = f"seed {seed[2]}" if seed else ""
    return " ".join(filter(None, (kind, what, stage.dataset.name, ratio, repeat)))


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Return a table with aligned columns. On a terminal, lines are cut to its width."""
    from tabulate import tabulate

    cells = [[plain(str(cell)) for cell in row] for row in rows]
    text = tabulate(cells, [*map(plain, header)], tablefmt="plain", disable_numparse=True)
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in text.splitlines())
