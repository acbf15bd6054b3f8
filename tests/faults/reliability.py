"""The faults that prunebench has to survive, and docs/reliability.md, which their tests write."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
COMMAND = 'pytest tests/faults -m "slow or not slow" --write-reliability'
FAULTS = {
    1: "The runner is killed",
    2: "A worker is killed",
    3: "Ctrl-C, SIGTERM, SIGHUP",
    4: "The disk is full",
    5: "Artefacts are torn, changed or deleted",
    6: "Rows are torn or changed",
    7: "Several runners at once",
    8: "A worker stands still for longer than its lease",
    9: "The clock jumps",
    10: "A GPU is out of memory",
    11: "The machine is out of memory",
    12: "Loss or scores that say nothing",
    13: "Bad plugins",
    14: "Plugins that nobody asked for",
    15: "A part reaches for labels that are not annotated",
    16: "A stage reaches for the test split",
    17: "Files that run code when they are read",
    18: "Hostile archives",
    19: "Failing downloads",
    20: "Hostile names",
    21: "Keys that forget something, or know too much",
    22: "The same cell on other workers, threads, folders",
    23: "Stores and rows of another version",
    24: "Chance taken for a result",
    25: "Pages of missing, torn, disputed and hostile rows",
    26: "A disk without file locks",
    27: "Twenty thousand cells",
    28: "Bad photos",
}
HEADER = ("", "fault", "injected", "lost", "repeated", "verdict", "seconds", "measured")


@dataclass
class Tally:
    """What one test counted. times: faults injected. lost: results that were gone or wrong afterwards.

    repeated: stages that were begun more than once. measured: figures by name, such as CPU seconds.
    """

    times: int = 0
    lost: int = 0
    repeated: int = 0
    measured: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of all tests of one fault. tallies: of those that passed, by how the fault was injected."""

    tallies: dict[str, list[Tally]] = field(default_factory=dict)
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    @property
    def counts(self) -> list[Tally]:
        """The tallies of all tests that passed."""
        return [tally for tallies in self.tallies.values() for tally in tallies]

    def row(self, number: int) -> tuple[str, ...]:
        """Return the row of this fault, from the counts of its passed tests alone."""
        if not self.counts:
            verdict = f"failed: {', '.join(self.failed)}" if self.failed else "not run"
            return str(number), FAULTS[number], "", "", "", verdict, "", ""
        injected = [f"{sum(t.times for t in some):,} × {how}" for how, some in self.tallies.items()]
        figures = {name: figure for tally in self.counts for name, figure in tally.measured.items()}
        return (
            str(number),
            FAULTS[number],
            "; ".join(injected),
            str(sum(tally.lost for tally in self.counts)),
            str(sum(tally.repeated for tally in self.counts)),
            f"failed: {', '.join(self.failed)}" if self.failed else "pass",
            f"{self.seconds:.0f}",
            ", ".join(f"{name} {figure}" for name, figure in figures.items()),
        )


def page(outcomes: dict[int, Outcome], before: str = "") -> str:
    """Return the page of a run: what no machine changes first, then times, then where and when.

    before: the page there was. Faults that this run did not touch keep their row.
    """
    kept = {number: tuple(row.values()) for number, row in rows(before).items() if number not in outcomes}
    table_rows = [kept.get(number) or outcomes.get(number, Outcome()).row(number) for number in FAULTS]
    lines = [HEADER, tuple("---" for _ in HEADER), *table_rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    versions = ", ".join(
        [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in ("prunebench", "torch"))]
    )
    made = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""# What prunebench survives

A toy matrix of 54 cells, or a smaller one, runs while something goes wrong. Then the same command runs again.
Every row and every stored array has to be what an undisturbed run makes. Times and versions may differ.

- *injected*: how often, and how. These numbers are the same on every machine.
- *lost*: results that were gone, wrong or taken for something else.
- *repeated*: stages begun more than once. A worker that is killed was at one, or at none: moments are random.
- *seconds*, *measured*: of this run, on this machine.

{table}

Made by `{COMMAND}` on {made}, with {versions}.
The machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores.
A run of some of the tests replaces the rows of their faults.
The tests are in `tests/faults/`; nothing here is written by hand.
"""


def rows(text: str) -> dict[int, dict[str, str]]:
    """Return the rows of a page by the number of their fault, each by the names of its columns."""
    found = {}
    for line in text.splitlines():
        if re.match(r"\| \d+ \|", line):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[int(cells[0])] = dict(zip(HEADER, cells, strict=True))
    return found
