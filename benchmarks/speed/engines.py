"""What an engine adds to a stage: many stages without work, carried by each engine in turn."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from tabulate import tabulate

from prunebench.pipeline import schedule
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.executors.factory import executor
from prunebench.pipeline.matrix import Matrix
from prunebench.runs.select import choose
from prunebench.suites.cells import Filters

# Name, options, the package it needs, and the share of the stages that it gets.
ENGINES = {
    "local": ("local", {}, None, 1.0),
    "threads": ("concurrent.futures:ThreadPoolExecutor", {}, None, 1.0),
    "loky": ("loky:ProcessPoolExecutor", {}, "loky", 1.0),
    "dask": ("dask", {}, "distributed", 1.0),
    "ray": ("ray", {}, "ray", 1.0),
    "slurm, local": ("slurm", {"cluster": "local"}, "submitit", 0.02),  # a process for each stage
}


@dataclass(frozen=True)
class Timed:
    """Seconds until the first stages are stored, and seconds for each further stage."""

    start: float
    each: float


def subsets(store: Path, stages: int) -> Matrix:
    """Return a matrix of random subsets of the digits: selections that take no time."""
    seeds = list(range(-(-stages // 99)))
    filters = Filters(methods=["random"], datasets=["digits"], ratios=list(range(1, 100)), seeds=seeds)
    return choose("standard", filters, device="cpu", store=store)


def timed(name: str, stages: int, workers: int) -> Timed:
    """Run stages without work through an engine, in a new store. Return how long that takes."""
    engine_name, options, _, share = ENGINES[name]
    count = max(workers + 1, round(stages * share))
    with tempfile.TemporaryDirectory() as folder:
        matrix = subsets(Path(folder), count)
        found = [stage for stage in matrix.graph.stages.values() if stage.kind == "subset"][:count]
        needed = {stage.key: stage for stage in found}
        engine = Engine(name=engine_name, options=options, workers=workers, store=matrix.store.root)
        ends: list[float] = []
        began = time.perf_counter()
        running = executor(engine, workers, lambda *_: None)
        try:
            outcome = schedule.walk(
                needed, matrix.store, running, matrix.job, lambda _: ends.append(time.perf_counter())
            )
        finally:
            running.shutdown()
        assert not outcome.failures and len(ends) == count
    first = ends[workers - 1]
    return Timed(first - began, (ends[-1] - first) / (count - workers))


def rows(names: list[str], stages: int, workers: int, rounds: int) -> Iterator[list[object]]:
    """Yield a line for each engine. The engines take turns, and the median of the rounds counts."""
    runs = [{name: timed(name, stages, workers) for name in names} for _ in range(rounds)]
    for name in names:
        each = median(run[name].each for run in runs)
        ratio = median(run[name].each / run[names[0]].each for run in runs)
        start = median(run[name].start for run in runs)
        count = max(workers + 1, round(stages * ENGINES[name][3]))
        yield [name, count, f"{start:.1f}", f"{1000 * each:.1f}", f"{ratio:.2f}"]


def main() -> None:
    """Print the table."""
    here = [name for name, (_, _, package, _) in ENGINES.items() if package is None or find_spec(package)]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", help=f"of {', '.join(here)}; all unless given")
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if unknown := sorted(set(given.engines) - set(here)):
        parser.error(f"no engine named {unknown[0]!r} here. Known: {', '.join(here)}.")
    header = ["engine", "stages", "first stages, s", "each further stage, ms", "to local"]
    lines = rows(given.engines or here, given.stages, given.workers, given.rounds)
    print(tabulate(lines, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
