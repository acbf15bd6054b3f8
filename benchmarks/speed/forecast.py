"""What `prunebench plan` predicts of a cut of the suite `small`, and what it then takes.

    python benchmarks/speed/forecast.py [--epochs 12] [--methods random,el2n_supervised] [--ratios 30,70,90]

A first seed is predicted from a few steps of each training, a second one from what the first took. All stages
run in this process on one thread. Predicted and real seconds are those of the processor, as other work on the
machine disturbs these less.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import torch
from tabulate import tabulate

from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.runs import plan
from prunebench.runs.run import get_ready, run_matrix
from prunebench.runs.select import choose
from prunebench.suites.cells import Filters

SUITE = Path(__file__).resolve().parents[1] / "small.toml"


def rows(folder: Path, chosen: argparse.Namespace, seed: int) -> Iterator[list[str]]:
    """Yield a line for each kind of stage that a seed makes, and one for all: predicted, real and ratio."""
    filters = Filters(
        methods=chosen.methods.split(","),
        datasets=["fashion_mnist_small"],
        ratios=[*map(int, chosen.ratios.split(","))],
        seeds=[*range(seed + 1)],
        changes={"recipe.epochs": chosen.epochs},
    )
    matrix = choose(str(SUITE), filters, device="cpu", store=folder / "store", data=folder / "data")
    get_ready(matrix)
    lines = [line for line in plan.lines(matrix, each=True) if line.to_make]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        failures = run_matrix(matrix, forecast_from_store(matrix), None, Engine(workers=0))
    assert not failures, failures
    sums: dict[str, list[float]] = {}
    unknown = set()
    for line in lines:
        (stage,) = line.stages
        kind = line.kind if stage.ratio is None else f"{line.kind}, {stage.ratio} % pruned"
        for name in (kind, "all"):
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += line.seconds or 0.0
            total[1] += matrix.store.manifest(stage.key)["seconds"]
        if line.seconds is None:
            unknown.add(kind)
    for name in [*sorted(sums.keys() - {"all"}), "all"]:
        predicted, real = sums[name]
        told = "?" if name in unknown else f"{predicted:.2f}"
        yield [str(seed), name, told, f"{real:.2f}", "" if name in unknown else f"{predicted / real:.2f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--methods", default="random,el2n_supervised")
    parser.add_argument("--ratios", default="30,70,90")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    time.perf_counter = time.process_time  # what stages and probes are timed by
    with tempfile.TemporaryDirectory() as folder:
        lines = [line for seed in (0, 1) for line in rows(Path(folder), chosen, seed)]
    header = ["seed", "stages", "predicted, CPU s", "real, CPU s", "predicted / real"]
    print(tabulate(lines, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
