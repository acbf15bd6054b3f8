"""What every phase is told, and the file that it writes its findings to."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parent.parent.parent
GRACE = 10.0  # seconds for a command to stop in good order
PRETENDED_MEMORY = 2**28  # bytes of the GPU of a rehearsal: so small that few images are too many


@dataclass(frozen=True, kw_only=True)
class Session:
    """A use of a GPU for a limited time.

    out: the folder of the findings, and of all that commands write.
    data: the folder of the datasets.
    rehearse: whether the GPU is pretended and everything is tiny.
    deadline: when the phase has to end, in seconds of `time.monotonic`.
    """

    out: Path
    data: Path
    rehearse: bool
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the deadline, or 0."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def seconds(self) -> float:
        """Seconds of one measurement."""
        return 0.0 if self.rehearse else 1.0

    @property
    def steps(self) -> int:
        """Steps of a training between two waits for the GPU."""
        return 1 if self.rehearse else 10

    def prepare(self) -> None:
        """Let this process have the pretended GPU, in a rehearsal."""
        if self.rehearse:
            from tests import pretend_gpu

            pretend_gpu.install(PRETENDED_MEMORY)

    def run(self, command: list[str], output: TextIO, stop: signal.Signals) -> int:
        """Run a command, until the deadline at most. Return its exit code.

        output: where its standard output and standard error go.
        stop: the signal that stops it in good order. It is killed if it does not.
        """
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            return process.wait(self.left)
        except subprocess.TimeoutExpired:
            process.send_signal(stop)
        try:
            return process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait()


class Findings:
    """A file of JSON lines that only grows. Each line names its phase.

    The first line of a phase has `begun`. Its last one has `ended`: "complete", "cut off" or "failed".
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "findings.jsonl"

    def add(self, phase: str, **values: Any) -> None:
        """Append a line, and print it."""
        line = json.dumps({"phase": phase, **rounded(values)})
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn + line + "\n")
        print(line, flush=True)

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, without one that a killed process left torn."""
        if not self.path.exists():
            return []
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines

    def complete(self) -> set[str]:
        """Return the phases that are complete."""
        return {line["phase"] for line in self.lines() if line.get("ended") == "complete"}

    def devices(self) -> set[str]:
        """Return the names of the GPUs that the findings are of."""
        return {line["device"] for line in self.lines() if "device" in line}


def rounded(value: Any) -> Any:
    """Return a value, with all numbers in it rounded to four digits."""
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
