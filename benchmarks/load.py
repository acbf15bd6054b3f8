"""Does the load of a machine change which method costs more? Writes a table of docs/statistics.md.

    python benchmarks/load.py --data FOLDER

Runs nine methods on digits twice, each time from nothing: as the machine is, and beside busy processes. The
methods are compared by what their selections cost. Takes minutes, and disturbs all else on the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from tabulate import tabulate

from prunebench import run
from prunebench.results.rows import Result
from prunebench.results.work_tables import TESTED, selecting
from prunebench.runs.places import folder

# Their selections train for different lengths, or compute without a network.
METHODS = [
    *("random", "moderate_supervised", "k_center_pixels", "facility_location_pixels", "score_extrapolation"),
    *("probe_aum", "grand_supervised", "semi_dual", "elfs_pixels"),
]
SHORT = {"recipe.epochs": 30}  # of proxy and final networks
UNITS = {
    "steps": "steps of trainings",
    "images": "images trained on",
    "images_forward": "images only looked at",
    "multiply_adds": "multiply-adds",
    "cpu_seconds": "CPU seconds",
    "seconds": "seconds of the clock",
}
WIDTH = 1500  # rows of the matrices of a busy process, too large for the cache of a core
PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
BEGIN = "<!-- what follows is made by: python benchmarks/load.py -->"
END = "<!-- what was made by benchmarks/load.py ends here -->"
Costs = Mapping[str, Sequence[float]]  # of each method, by unit


def costs(data: Path) -> tuple[Costs, float]:
    """Run all methods in an empty store. Return their costs, and the machine's load average at the end."""
    with tempfile.TemporaryDirectory() as store:
        place = {"store": store, "data": data}
        rows = run("quickstart", METHODS, ratios=70, seeds=1, changes=SHORT, workers=1, **place)
        load, _, _ = os.getloadavg()
    return {unit: [cost(row, unit) for row in rows] for unit in UNITS}, load


def cost(row: Result, unit: str) -> float:
    """Return what the selection of a row took in a unit."""
    if unit == "seconds":
        return sum(seconds for stage, seconds in row.seconds.items() if stage not in TESTED)
    return selecting(row, unit)


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """Keep so many processes busy meanwhile."""
    started = [multiprocessing.Process(target=_multiply, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.join()


def _multiply() -> None:
    matrix = np.random.default_rng(0).normal(size=(WIDTH, WIDTH))
    while True:
        matrix @ matrix


def moved(before: Sequence[float], after: Sequence[float]) -> int:
    """Return how many pairs are in another order after than before. Equal ones have an order of their own."""
    return sum(
        np.sign(before[i] - before[j]) != np.sign(after[i] - after[j])
        for i, j in combinations(range(len(before)), 2)
    )


def table(alone: Costs, loaded: Costs) -> str:
    """Return the table with a line for each unit, in markdown."""
    body = []
    for unit, title in UNITS.items():
        before, after = alone[unit], loaded[unit]
        times = sorted(new / old for old, new in zip(before, after, strict=True) if old)
        pairs = len(before) * (len(before) - 1) // 2
        ratios = [f"{value:.2f}" for value in (times[0], median(times), times[-1])]
        body.append([title, *ratios, f"{moved(before, after)} of {pairs}"])
    header = ["cost of a selection", "least", "median", "most", "pairs in another order"]
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def filled(text: str, found: str) -> str:
    """Return the text of the page with what was found between the marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{found}\n\n{END}{tail}"


def main() -> None:
    """Run twice, and write the table into its page."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=folder("data"), help="folder of the datasets")
    parser.add_argument("--busy", type=int, default=2 * cores, help="number of busy processes")
    options = parser.parse_args()
    alone, before = costs(options.data)
    with beside(options.busy):
        loaded, after = costs(options.data)
    found = (
        f"{table(alone, loaded)}\n\n"
        f"One worker on {cores} cores. Load average at the end of a run: {before:.1f} as the machine was, "
        f"{after:.1f} beside {options.busy} busy processes."
    )
    print(found)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
