"""Values that a paper printed for fields of parts. The tuning rule `published` sets them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from prunebench.suites.resources import shipped
from prunebench.suites.tuning import Search

# Field -> its file and the column of its values.
FILES = {"cutoff": ("published/aum_cutoff.csv", "cutoff_fraction")}
MISREAD = "as_printed_probably_from_the_easy_end"  # SUN397. The file has the other reading too, which counts


@dataclass(frozen=True)
class Printed:
    """The printed values for the field of a search, for one method on one dataset.

    search: the search that would set the field otherwise.
    values: (ratio in percent pruned, value) pairs.
    """

    search: Search
    values: tuple[tuple[int, float], ...]


def printed(search: Search, method: str, dataset: str) -> Printed | None:
    """Return the printed values for the field of a search, or None if there are none."""
    if search.grid.field not in FILES:
        return None
    file, column = FILES[search.grid.field]
    values = tuple(
        (int(row["pruning_ratio_percent"]), float(row[column]))
        for row in _rows(file)
        if (row["method"], row["dataset"]) == (method, dataset) and row["reading"] != MISREAD
    )
    return Printed(search, values) if values else None


@cache
def _rows(file: str) -> tuple[dict[str, str], ...]:
    with (shipped() / file).open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))
