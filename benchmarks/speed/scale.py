"""CPU seconds of the commands on a large matrix. Every artefact is stored; the store is made up."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tabulate import tabulate

from prunebench.parts.artefacts import Accuracy, Artefact, Dynamics, Labels, Scores, Subset
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import SCHEMA, Store, packed
from prunebench.runs.select import choose
from prunebench.suites.cells import Filters
from prunebench.system.sealed_json import canonical

METHODS = ("random", "el2n_supervised")
RATIOS = (30, 50, 70, 80, 90)
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


def seconds(*words: str) -> float:
    """Return the CPU seconds of a prunebench command in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "prunebench", *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Make up a store, run the commands on it, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="of status, plan, run, leaderboard; all unless given")
    parser.add_argument("--seeds", type=int, default=2000, help="ten cells each")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PRUNEBENCH_PLUGINS": ""}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        results = str(Path(folder, "results"))
        filters = Filters(
            methods=METHODS, datasets=["digits"], ratios=RATIOS, seeds=range(options.seeds), recipe="tiny"
        )
        matrix = choose(None, filters, device="cpu", store=store, data=folder)
        fill(matrix.store, list(matrix.graph.stages.values()))
        cells = len(matrix.cells)
        print(f"{cells} cells, {len(matrix.graph.stages)} stages, all stored. CPU seconds:\n")
        cell_options = ["--methods", ",".join(METHODS), "--datasets", "digits"]
        cell_options += ["--ratios", ",".join(map(str, RATIOS)), "--seeds", str(options.seeds)]
        cell_options += ["--recipe", "tiny", "--store", str(store), "--data", folder]
        commands = {
            "status": ["status", *cell_options],
            "plan": ["plan", *cell_options],
            "run, every row new": ["run", *cell_options, "--results", results],
            "run, every row there": ["run", *cell_options, "--results", results],
            "leaderboard": ["leaderboard", "--results", results],
        }
        start = seconds("--version")  # imports, which every command needs
        rows = []
        for name, words in commands.items():
            if options.commands and words[0] not in options.commands:
                continue
            cpu_seconds = seconds(*words) - start
            rows.append([name, f"{cpu_seconds:.1f}", f"{1000 * cpu_seconds / cells:.2f}"])
        print(tabulate(rows, ["command", "s", "ms a cell"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
