"""Values that a paper printed for fields of parts: what the tuning rule `published` sets."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from prunebench.suites.resources import shipped
from prunebench.suites.tuning import Search

# By field: the file, and its column of values.
FILES = {"cutoff": ("published/aum_cutoff.csv", "cutoff_fraction")}
MISREAD = "as_printed_probably_from_the_easy_end"  # SUN397; the other reading of the same value counts


@dataclass(frozen=True)
class Printed:
    """What was printed for the field that a search would set, for one method on one dataset, by ratio."""

    search: Search
    values: tuple[tuple[int, float], ...]


def printed(search: Search, method: str, dataset: str) -> Printed | None:
    """Return what was printed for the field of a search; None where nothing was."""
    file, column = FILES.get(search.grid.field, (None, ""))
    lines = () if file is None else _lines(file)
    values = tuple(
        (int(line["pruning_ratio_percent"]), float(line[column]))
        for line in lines
        if (line["method"], line["dataset"]) == (method, dataset) and line["reading"] != MISREAD
    )
    return Printed(search, values) if values else None


@cache
def _lines(file: str) -> tuple[dict[str, str], ...]:
    with (shipped() / file).open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))
