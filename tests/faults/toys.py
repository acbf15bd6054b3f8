"""The toy matrix, running it, and what a run leaves behind. All that tests of faults know of the product."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.parts.artefacts import Artefact
from prunebench.pipeline.store import Store
from prunebench.results.journal import Journal
from prunebench.results.rows import Result, read

INJECTED = Path(__file__).parent / "injected"
TOY = """
title = "Toy"
datasets = ["digits", "digits_lt"]
methods = ["random", "aum_supervised", "forgetting_supervised"]
ratios = [30, 70, 90]
seeds = 3
recipe = "tiny"
"""
CELLS = 54
# Every kind of stage, each at least once.
SMALL = """
title = "Small"
datasets = ["digits"]
methods = ["random", "propagate_aum", "aum_supervised"]
ratios = [70, 90]
seeds = 1
recipe = "tiny"
tuning = "search"
[grids.cutoff.cutoff]
values = [0.1, 0.3]
ratios = [70]
"""
# Two cells, for what is tried many times.
MINI = """
title = "Mini"
datasets = ["digits"]
methods = ["random"]
ratios = [80, 90]
seeds = 1
recipe = "tiny"
"""
SETTINGS = "--set recipe.epochs=2"
# How a row says that it was made with less at once, for lack of memory.
SMALLER = re.compile("memory|micro_batch|smaller")
INTERRUPTED = "Interrupted. The same command goes on from here.\n"
# What two runs of the same cell need not share.
OWN = {"seconds", "gpu_seconds", "work", "versions", "commit", "date", "checksum"}


@dataclass(frozen=True)
class Place:
    """A suite, and the folder in which it runs: its store, its results and the log of its stages."""

    folder: Path
    suite: Path

    @property
    def store(self) -> Store:
        """The store of its runs."""
        return Store(self.folder / "store")

    @property
    def log(self) -> Path:
        """Where `FAULT_LOG` notes what its workers do."""
        return self.folder / "log"

    @property
    def faulty(self) -> dict[str, str]:
        """The environment of a run in which faults can be injected."""
        self.folder.mkdir(exist_ok=True)
        path = os.pathsep.join([str(INJECTED), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"PYTHONPATH": path, "FAULT_LOG": str(self.log)}

    def line(self, command: str = "run", *, workers: int | None = 2) -> str:
        """Return the command that runs it, or plans it."""
        run = f" --results {self.folder} --workers {workers}" if command == "run" else ""
        return f"{command} --suite {self.suite} {SETTINGS} --store {self.folder}/store{run}"

    def stored(self) -> set[str]:
        """Return the keys of all that is stored."""
        return {path.parent.parent.name + path.parent.name for path in self.manifests()}

    def manifests(self) -> list[Path]:
        """Return all manifests, in order."""
        return sorted((self.folder / "store").glob("??/*/manifest.json"))

    def kinds(self) -> dict[str, list[Path]]:
        """Return the folders of all entries by the kind of their stage."""
        found: dict[str, list[Path]] = {}
        for path in self.manifests():
            found.setdefault(json.loads(path.read_text())["kind"], []).append(path.parent)
        return found

    def begun(self) -> Counter[str]:
        """Return how often each stage was begun."""
        return Counter(key for what, key, *_ in self.noted() if what == "begin")

    def ended(self) -> Counter[str]:
        """Return how often each stage came to its end."""
        return Counter(key for what, key, *_ in self.noted() if what == "end")

    def shares(self) -> Counter[str]:
        """Return how many stages each worker has made."""
        return Counter(words[2] for words in self.noted() if words[0] == "end")

    def noted(self) -> list[list[str]]:
        """Return the lines of the log."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def repeated(self) -> int:
        """Return how many stages were begun again."""
        return sum(self.begun().values()) - len(self.begun())

    def litter(self) -> list[Path]:
        """Return what is half-written."""
        return [*self.folder.glob("store/making/*"), *self.folder.glob("**/.*.????????????????")]


def summary(place: Place) -> dict[str, dict[str, object]]:
    """Return all that two runs have to agree in: the values of rows, and the hash of every payload."""
    rows, complaints = read(place.folder, place.suite.stem)
    assert complaints == []
    cells = {f"{r.method} {r.dataset} {r.ratio} {r.seed}": r.model_dump(exclude=OWN) for r in rows}
    assert len(cells) == len(rows), "a cell has two rows"
    payloads = {
        path.parent.parent.name + path.parent.name: hashlib.sha256(
            (path.parent / "payload.safetensors").read_bytes()
        ).hexdigest()
        for path in place.manifests()
    }
    return {"rows": cells, "payloads": payloads}


def differing(place: Place, other: Place) -> list[str]:
    """Return the cells and stored artefacts that two runs do not share, or not as they are."""
    ours, theirs = summary(place), summary(other)
    return [
        name
        for what in ("rows", "payloads")
        for name in sorted({*ours[what], *theirs[what]})
        if ours[what].get(name) != theirs[what].get(name)
    ]


def add(folder: Path, row: Result) -> bool:
    """Put a row on record."""
    return Journal(folder).append(row)


def put(store: Store, key: str, artefact: Artefact, manifest: Mapping[str, Any]) -> None:
    """Store an artefact as a stage does."""
    with store.lease(key, "a test"):
        store.write(key, [artefact], manifest)


def wait_until(holds, process, seconds=60.0):
    """Wait until something holds or the process has ended; return whether it holds."""
    end = time.monotonic() + seconds
    while not holds():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)
    return True


def finished(process, seconds=300):
    """Wait for the end of a process; return what it wrote to its standard error."""
    return process.communicate(timeout=seconds)[1]


def send(pid, signal_number):
    """Tell a process, which may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)
