"""How often are equal methods separated, and unequal ones not? Writes the tables of docs/statistics.md.

    python benchmarks/separation.py

Simulates boards, 1,000 for each line, with a fixed seed. The runs of a method are normal, or have heavier
tails, and scatter as each line says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import studentized_range
from tabulate import tabulate

from prunebench.parts.artefacts import Array
from prunebench.results.looks import Looks, compare_all
from prunebench.results.separation import LEVEL, Noise, Runs, compare, seeds_needed

BOARDS = 1000
PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
MARKER = "<!-- what follows is made by: python benchmarks/separation.py -->"
TAILS = 4  # degrees of freedom of t, for runs with heavier tails


class Null(NamedTuple):
    """Boards of equal methods.

    widest: the largest spread of a method over the smallest, those between in equal steps of their logarithm.
    normal: whether runs are normal; else they follow t.
    """

    methods: int
    seeds: int
    widest: float
    normal: bool = True

    @property
    def spreads(self) -> Array:
        """The standard deviation of a run of each method, in points, float [methods]."""
        return np.geomspace(1, self.widest, self.methods)


NULLS = (
    *starmap(Null, [(9, 5, 1), (9, 3, 1), (38, 5, 1), (38, 3, 1)]),
    *starmap(Null, [(9, 5, 4), (9, 3, 4), (38, 5, 4), (38, 3, 4), (38, 5, 20), (38, 3, 20)]),
    *starmap(Null, [(9, 5, 1, False), (38, 3, 1, False)]),
)
GAPS = (3, 4, 5, 10)  # seeds
GROWING = ((9, 3, 10, 0.0), (9, 3, 10, 1.0), (9, 3, 10, 2.0), (3, 3, 10, 1.0))
PLANS = ((9, 1, 0.5, 1.0), (9, 1, 1.0, 1.0), (24, 1, 1.0, 1.0), (24, 1, 0.5, 0.3), (9, 4, 0.5, 1.0))


def drawn(null: Null, rng: np.random.Generator) -> Array:
    """Return the runs of one board, float [methods, seeds]."""
    shape = null.methods, null.seeds
    runs = (
        rng.normal(size=shape) if null.normal else rng.standard_t(TAILS, size=shape) * np.sqrt(1 - 2 / TAILS)
    )
    found: Array = runs * null.spreads[:, None]
    return found


def columns(table: Array) -> list[Runs]:
    """Return the runs of each method by seed."""
    return [dict(enumerate(map(float, runs))) for runs in table]


def wrong(null: Null, boards: int) -> list[object]:
    """Return the line of a table: in how many of `boards` equal methods are told apart, in percent."""
    rng = np.random.default_rng(0)
    pair = split = best = tukey = howell = 0
    for _ in range(boards):
        table = drawn(null, rng)
        found = compare(columns(table))
        assert found is not None
        pair += found.apart.any()
        split += max(found.ties) > 1
        best += (1, 1) in found.ranks
        tukey += tukey_separates(table)
        howell += games_howell_separates(table)
    shares = [f"{100 * count / boards:.1f}" for count in (pair, split, best, tukey, howell)]
    spreads = "equal" if null.widest == 1 else f"1 to {null.widest:g}"
    return [null.methods, null.seeds, spreads, "normal" if null.normal else f"t of {TAILS}", *shares]


def tukey_separates(table: Array) -> bool:
    """Whether the studentized range with a shared spread separates any pair."""
    methods, seeds = table.shape
    error = np.sqrt(table.var(axis=1, ddof=1).mean() / seeds)
    return bool(np.ptp(table.mean(axis=1)) / error > critical(methods, methods * (seeds - 1)))


def games_howell_separates(table: Array) -> bool:
    """Whether Games and Howell's test (1976) separates any pair; degrees rounded down to quarters."""
    methods, seeds = table.shape
    first, second = np.triu_indices(methods, 1)
    squares = table.var(axis=1, ddof=1) / seeds
    both = squares[first] + squares[second]
    degrees = (seeds - 1) * both**2 / (squares[first] ** 2 + squares[second] ** 2)
    means = table.mean(axis=1)
    ranges = np.abs(means[first] - means[second]) / np.sqrt(both / 2)
    quarters, where = np.unique(np.floor(4 * degrees), return_inverse=True)
    limits = np.array([critical(methods, float(quarter) / 4) for quarter in quarters])
    return bool((ranges > limits[where]).any())


@cache
def critical(methods: int, degrees: float) -> float:
    """Return the studentized range that equal methods exceed at the level of all pages."""
    return float(studentized_range.isf(LEVEL, methods, degrees))


def found_gap(seeds: int, boards: int) -> list[object]:
    """Return the line of a table: how often a method that is 2 points better is separated, in percent."""
    rng = np.random.default_rng(0)
    null = Null(9, seeds, 1)
    pair = best = 0
    for _ in range(boards):
        table = 0.5 * drawn(null, rng)
        table[0] += 2
        found = compare(columns(table))
        assert found is not None
        pair += found.apart[0, 1]
        best += found.ranks[0] == (1, 1)
    return [seeds, *(f"{100 * count / boards:.1f}" for count in (pair, best))]


def planned(methods: int, widest: float, spread: float, difference: float, boards: int) -> list[object]:
    """Return the line of a table: the seeds that a plan for 80 % asks for, and the power they have.

    spread: of the first two methods, in points. With different spreads, those of the others are up to
    `widest` times as large.
    """
    rng = np.random.default_rng(0)
    spreads = spread * np.geomspace(1, widest, methods - 1)[[0, *range(methods - 1)]]
    degrees = None if widest > 1 else methods
    noise = Noise(spreads**2, np.full(methods, 5), degrees)
    seeds = seeds_needed(noise, (0, 1), difference, 0.8)
    assert seeds is not None
    hits = 0
    for _ in range(boards):
        table = rng.normal(size=(methods, seeds)) * spreads[:, None]
        table[0] += difference
        found = compare(columns(table))
        assert found is not None
        hits += found.apart[0, 1]
    spread_words = f"{spread:g}" if widest == 1 else f"{spread:g} to {spread * widest:g}"
    return [methods, spread_words, difference, seeds, f"{100 * hits / boards:.1f}"]


def grown(methods: int, first: int, most: int, gap: float, boards: int) -> list[object]:
    """Return the line of a table: boards that get seeds while tie groups are open, at a spread of 0.5.

    first, most: seeds of the first look and of the last.
    gap: of the first method to all others, which are equal, in points.
    """
    rng = np.random.default_rng(0)
    looks = Looks(first, most)
    wrong = found = 0
    seeds = np.zeros(methods)
    for _ in range(boards):
        table = 0.5 * rng.normal(size=(methods, most))
        table[0] += gap
        counts = np.full(methods, first)
        for count in range(first, most + 1):
            board = [dict(enumerate(map(float, runs[:n]))) for runs, n in zip(table, counts, strict=True)]
            now = compare_all(board, looks)
            assert now is not None
            is_open = np.array([now.ties.count(tie) > 1 for tie in now.ties])
            if count == most or not is_open.any():
                break
            counts[is_open] = count + 1
        equal = now.apart if gap == 0 else now.apart[1:, 1:]
        wrong += equal.any()
        found += now.ranks[0] == (1, 1)
        seeds += counts
    shares = [f"{100 * count / boards:.1f}" for count in (wrong, found)]
    mean = seeds / boards
    return [methods, f"{first} to {most}", gap, *shares, f"{mean[0]:.1f}", f"{mean[1:].mean():.1f}"]


def tables(boards: int) -> Iterator[str]:
    """Yield the tables of the page, in markdown, each with its heading."""
    error = ["methods", "seeds", "spreads", "runs", "a pair", "tie groups", "a best", "Tukey", "Games-Howell"]
    yield "### Equal methods\n"
    yield "Boards with a wrong separation, in percent. The last two columns are of other tests, any pair.\n"
    yield _grid([wrong(null, boards) for null in NULLS], error)
    yield "### A gap of 2 points at a spread of 0.5\n"
    yield "Nine methods, of which the first is better. Boards that separate it, in percent.\n"
    yield _grid([found_gap(seeds, boards) for seeds in GAPS], ["seeds", "from the next", "from all others"])
    yield "### Planned seeds\n"
    yield "`plan --detect` for a power of 80 %, and the power that so many seeds have, in percent.\n"
    header = ["methods", "spreads", "difference", "seeds", "power"]
    yield _grid([planned(*plan, boards) for plan in PLANS], header)
    yield "### Seeds added while tie groups are open\n"
    yield "The first method is better by a gap, at a spread of 0.5. Boards in percent, and mean seeds.\n"
    header = ["methods", "looks", "gap", "a wrong pair", "first separated", "seeds of it", "of the others"]
    yield _grid([grown(*board, boards) for board in GROWING], header)


def _grid(body: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    return tabulate(body, header, tablefmt="github", disable_numparse=True) + "\n"


def main() -> None:
    """Write the tables into their page."""
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(MARKER)
    PAGE.write_text(f"{head}{MARKER}\n\n" + "\n".join(tables(BOARDS)), encoding="utf-8")


if __name__ == "__main__":
    main()
