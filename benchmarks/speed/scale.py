"""CPU seconds of what grows with the number of cells: graphs, rows and commands; and of starting at all.

    python benchmarks/speed/scale.py [startup graph rows status plan run leaderboard] [--against CHECKOUT]

startup      commands that compute nothing, beside the import of NumPy
graph        planning the stages of 1,000 to 50,000 cells
rows         adding a row to files of 100 to 10,000 rows
others       the commands on a matrix in which every artefact is stored; the store is made up

Everything is measured in processes of its own. With --against, those of another checkout of prunebench take
turns with those of this one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tabulate import tabulate

from prunebench.parts.artefacts import Accuracy, Artefact, Dynamics, Labels, Scores, Subset
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import SCHEMA, Store, packed
from prunebench.results.journal import Journal
from prunebench.results.rows import Result, line, path_of
from prunebench.runs.select import choose
from prunebench.suites.cells import Filters
from prunebench.system.sealed_json import canonical

METHODS = ("random", "el2n_supervised")
LARGER = ("semi_aum", "semi_dual", "elfs_dino", "zcore", "prototypicality")
WITH_ROWS = ("run", "leaderboard")
COMMANDS = ("status", "plan", *WITH_ROWS)
PARTS = ("startup", "graph", "rows", *COMMANDS)
RATIOS = (30, 50, 70, 80, 90)
GRAPHS = (1_000, 10_000, 50_000)  # cells
FILES = (100, 1_000, 10_000)  # rows
APPENDED = 12  # rows that are added to a file, to time one
IMAGES = 1437  # training images of digits, which set the size of the artefacts


def artefacts() -> dict[str, Artefact]:
    """Return one artefact of each kind that these methods make."""
    series = np.zeros((2, 1), np.float32)
    index = np.arange(IMAGES)
    labels = Labels(values=index % 10, annotated=np.ones(IMAGES, bool))
    return {
        "known_labels": labels,
        "labels": labels,
        "dynamics": Dynamics(images=1, index=np.zeros(1), **dict.fromkeys(Dynamics.series, series)),
        "scores": Scores(values=np.zeros(IMAGES)),
        "subset": Subset(images=IMAGES, index=index[: IMAGES // 2]),
        "accuracy": Accuracy(
            predictions=np.zeros(360),
            accuracy=90.0,
            best_accuracy=91.0,
            balanced_accuracy=89.0,
            worst_decile_recall=70.0,
            history=[[epoch, 90.0] for epoch in range(20)],
            kept_per_class=[71] * 10,
        ),
    }


def fill(store: Store, stages: list[Stage]) -> None:
    """Write an entry for every stage, as `Store.write` does, but without locks."""
    payloads = {kind: packed([artefact]) for kind, artefact in artefacts().items()}
    common = {"seconds": 1.0, "peak_bytes": 1, "device": "cpu", "device_name": "made up", "commit": None}
    for stage in stages:
        payload = payloads[stage.kind]
        entry = {
            **common,
            "kind": stage.kind,
            "title": stage.title,
            "identity": stage.identity,
            "inputs": [[entry.name, entry.of, entry.source.key] for entry in stage.inputs],
            "versions": {"python": "3", "prunebench": "0", "torch": "2", "numpy": "2"},
            "made": "2026-01-01T00:00:00Z",
            "schema": SCHEMA,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "bytes": len(payload),
        }
        entry["check"] = hashlib.sha256(canonical(entry).encode()).hexdigest()
        folder = store.path(stage.key)
        folder.mkdir(parents=True)
        (folder / "payload.safetensors").write_bytes(payload)
        (folder / "manifest.json").write_text(json.dumps(entry, indent=1))


def matrix(folder: Path, seeds: int, methods: Sequence[str] = METHODS) -> Matrix:
    """Return the matrix of some methods on digits, five cells for each method and seed."""
    filters = Filters(methods=methods, datasets=["digits"], ratios=RATIOS, seeds=range(seeds), recipe="tiny")
    return choose(None, filters, device="cpu", store=folder / "store", data=folder)


# What a process of its own measures. Each returns CPU microseconds by name


def graph(cells: int) -> dict[str, float]:
    """Return what a cell costs in the graph of so many."""
    groups = {"two methods": METHODS, "five with labels and backbones": LARGER}
    found = {}
    for name, methods in groups.items():
        with tempfile.TemporaryDirectory() as folder:
            cells_of = matrix(Path(folder), cells // len(RATIOS) // len(methods), methods)
            begin = time.process_time()
            stages = cells_of.graph.stages
            found[name] = 1e6 * (time.process_time() - begin) / len(cells_of.cells)
            assert stages
    return found


def rows(count: int) -> dict[str, float]:
    """Return what it costs to add a row to a file of so many, to another process's and to one's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = path_of(folder, made_up(0))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(line(made_up(seed).values) for seed in range(count)))
        journals = [Journal(folder), Journal(folder)]
        seeds = iter(range(count, count + 2 * APPENDED + 2))
        first = [cpu(partial(journal.append, made_up(next(seeds)))) for journal in journals]
        alone = [cpu(partial(journals[1].append, made_up(next(seeds)))) for _ in range(APPENDED)]
        turns = [cpu(partial(journals[i % 2].append, made_up(next(seeds)))) for i in range(APPENDED)]
        again = [cpu(partial(journals[1].append, made_up(seed))) for seed in range(APPENDED)]
    return {
        "the first of a process": first[0],
        "the next": statistics.median(alone),
        "in turns with another process": statistics.median(turns),
        "one that is there": statistics.median(again),
    }


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU microseconds of some work."""
    begin = time.process_time()
    work()
    return 1e6 * (time.process_time() - begin)


def made_up(seed: int) -> Result:
    """Return a row of about the size of real ones."""
    return Result(
        **dict.fromkeys(("suite", "method", "title", "dataset", "recipe", "repeats", "tuning"), "made_up"),
        **dict.fromkeys(("method_key", "subset_key", "accuracy_key"), 64 * "a"),
        **dict.fromkeys(("accuracy", "best_accuracy", "balanced_accuracy", "worst_decile_recall"), 90.0),
        **dict.fromkeys(("images", "kept", "labels_selection", "labels_training", "labels_total"), IMAGES),
        seconds={"accuracy": 1.0, "subset": 0.1},
        gpu_seconds={},
        dataset_hash=64 * "b",
        ratio=30,
        seed=seed,
        label_fraction=1.0,
        protocol_version=1,
        history=[[epoch, 90.0] for epoch in range(20)],
        kept_per_class=[71] * 10,
        lost_classes=0,
        label_draw=None,
        device="cpu",
        device_name="made up",
        versions={"torch": "2"},
        commit=None,
        date="2026-01-01T00:00:00Z",
    )


MEASURED = {"graph": graph, "rows": rows}

# Processes, of this checkout and of another


class Checkouts:
    """This checkout of prunebench, and another to compare it with, if there is one.

    folders: by name.
    """

    def __init__(self, against: Path | None) -> None:
        here = Path(__file__).resolve().parents[2]
        self.folders = {**({"before": against.resolve()} if against else {}), "now": here}

    def run(self, name: str, words: Sequence[str]) -> tuple[float, str]:
        """Return the CPU seconds and the output of a Python process that imports a checkout."""
        folder = self.folders[name]
        path = os.pathsep.join(map(str, (folder, folder / "plugins")))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            env=os.environ | {"PYTHONPATH": path},
            cwd=folder,  # which `python -m` searches before that path
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return used, told.stdout.decode()

    def seconds(self, *words: str, rounds: int = 1) -> dict[str, float]:
        """Return the median CPU seconds of a process, of the checkouts in turns, by name."""
        used: dict[str, list[float]] = {name: [] for name in self.folders}
        for _ in range(rounds):
            for name in used:
                used[name].append(self.run(name, words)[0])
        return {name: statistics.median(values) for name, values in used.items()}

    def measured(self, what: str, size: int, rounds: int) -> dict[str, dict[str, float]]:
        """Return the median microseconds that one of MEASURED finds, by what is measured and by checkout."""
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(rounds):
            for name in self.folders:
                _, told = self.run(name, [__file__, "--measure", what, str(size)])
                for case, value in json.loads(told).items():
                    found.setdefault(case, {}).setdefault(name, []).append(value)
        return {
            case: {name: statistics.median(values) for name, values in of.items()}
            for case, of in found.items()
        }

    def columns(self, values: dict[str, float], spelled: str) -> list[str]:
        """Return a value of each checkout as cells of a table, and how many times as fast this one is."""
        cells = [format(values[name], spelled) for name in self.folders]
        if len(cells) == 2:
            cells.append(f"{values['before'] / values['now']:.1f}")
        return cells

    def header(self, unit: str) -> list[str]:
        """Return the heads of these columns."""
        heads = [f"{unit}, {name}" if len(self.folders) > 1 else unit for name in self.folders]
        return [*heads, "times as fast"] if len(heads) == 2 else heads


# Tables


def startup(checkouts: Checkouts, rounds: int) -> None:
    """Print what commands cost that compute nothing."""
    lines = {"import numpy": ["-c", "import numpy"]}
    for words in ("--version", "--help", "list methods", "list datasets"):
        lines[f"prunebench {words}"] = ["-m", "prunebench", *words.split()]
    found = []
    for name, words in lines.items():
        checkouts.seconds(*words)  # compiles what it imports
        found.append([name, *checkouts.columns(checkouts.seconds(*words, rounds=rounds), ".2f")])
    show(found, ["process", *checkouts.header("CPU s")])


def growing(checkouts: Checkouts, what: str, sizes: Sequence[int], rounds: int) -> None:
    """Print what one of MEASURED costs at several sizes, and the exponent with which that grows."""
    found: dict[str, list[dict[str, float]]] = {}
    for size in sizes:
        for case, values in checkouts.measured(what, size, rounds).items():
            found.setdefault(case, []).append(values)
    lines = []
    for case, steps in found.items():
        for position, values in enumerate(steps):
            exponent = ""
            if position:
                growth = math.log(values["now"] / steps[position - 1]["now"])
                exponent = f"{growth / math.log(sizes[position] / sizes[position - 1]):.2f}"
            lines.append([case, f"{sizes[position]:,}", *checkouts.columns(values, ".0f"), exponent])
    show(lines, [what, "of", *checkouts.header("CPU us each"), "exponent"])


def commands(checkouts: Checkouts, chosen: Sequence[str], seeds: int) -> None:
    """Print what commands cost on a matrix in which everything is stored, beyond starting."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells_of = matrix(folder, seeds)
        fill(cells_of.store, list(cells_of.graph.stages.values()))
        cells, stages = len(cells_of.cells), len(cells_of.graph.stages)
        print(f"{cells:,} cells, {stages:,} stages, all stored. CPU seconds beyond those of --version:\n")
        start = checkouts.seconds("-m", "prunebench", "--version", rounds=3)
        lines = []
        for title, words in words_of(folder, seeds).items():
            if words[0] not in chosen:
                continue
            used = {}
            for checkout in checkouts.folders:
                results = ["--results", str(folder / checkout)] if words[0] in WITH_ROWS else []
                used[checkout], _ = checkouts.run(checkout, ["-m", "prunebench", *words, *results])
                used[checkout] -= start[checkout]
            each = f"{1e6 * used['now'] / cells:.0f}"
            lines.append([title, *checkouts.columns(used, ".1f"), each])
        show(lines, ["command", *checkouts.header("CPU s"), "us a cell"])


def words_of(folder: Path, seeds: int) -> dict[str, list[str]]:
    """Return the commands, by what they are."""
    options = ["--methods", ",".join(METHODS), "--datasets", "digits"]
    options += ["--ratios", ",".join(map(str, RATIOS)), "--seeds", str(seeds)]
    options += ["--recipe", "tiny", "--store", str(folder / "store"), "--data", str(folder)]
    return {
        "status": ["status", *options],
        "plan": ["plan", *options],
        "run, every row new": ["run", *options],
        "run, every row there": ["run", *options],
        "leaderboard": ["leaderboard"],
    }


def show(lines: list[list[str]], header: list[str]) -> None:
    """Print a table."""
    print(tabulate(lines, header, tablefmt="github", disable_numparse=True) + "\n")


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--seeds", type=int, default=1000, help="of the commands, ten cells each")
    parser.add_argument("--rounds", type=int, default=3, help="of the other parts")
    parser.add_argument("--against", type=Path, help="another checkout, to compare with")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # what a process of its own does
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PRUNEBENCH_PLUGINS": ""}
    if options.measure:
        what, size = options.measure
        print(json.dumps(MEASURED[what](int(size))))
        return
    chosen, checkouts = options.parts or PARTS, Checkouts(options.against)
    if "startup" in chosen:
        startup(checkouts, options.rounds)
    if "graph" in chosen:
        growing(checkouts, "graph", GRAPHS, options.rounds)
    if "rows" in chosen:
        growing(checkouts, "rows", FILES, options.rounds)
    if {*chosen} & {*COMMANDS}:
        commands(checkouts, chosen, options.seeds)


if __name__ == "__main__":
    main()
