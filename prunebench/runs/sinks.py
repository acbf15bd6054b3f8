"""Where the rows of a run go: to the files of rows first, then to all that want to hear of them.

Plugins hear of each new row by the hook `cell_finished`. So do a log file and a tracker, if the user asks.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.parts.registry import Listener, load, said
from prunebench.results.journal import Journal
from prunebench.results.rows import Record, Result
from prunebench.system.files import writing
from prunebench.system.terminal import echo


@dataclass
class Sinks:
    """Where the rows of a run go.

    journal: the files of rows, or None if none are written.
    listeners: those that are told of new rows, each with a name for messages.
    """

    journal: Journal | None
    listeners: list[tuple[str, Listener]] = field(default_factory=list)
    _failed: set[str] = field(default_factory=set)

    def add(self, record: Record, made: bool) -> None:
        """Write a row or a failure. Tell all listeners of a row that is new.

        made: whether the cell was made in this run. If no rows are written, such a row is new.

        Raise PrunebenchError if it cannot be written.
        """
        new = record if made else None
        if self.journal is not None:
            new = self.journal.append(record)
        if isinstance(new, Result):
            for name, listener in self.listeners:
                self._tell(name, listener, new)

    def _tell(self, name: str, listener: Listener, row: Result) -> None:
        """Tell one listener of a row. Its first error is one line. No error stops the run."""
        try:
            listener(row=row)
        except (Exception, SystemExit) as error:
            if name not in self._failed:
                self._failed.add(name)
                echo(f"warning: {name} failed on a finished cell: {said(error)}. The run goes on", err=True)


def sinks(folder: Path | None, log: Path | None = None, project: str | None = None) -> Sinks:
    """Return where rows go: to the files in a folder, to all plugins, and where the user asks.

    folder: the folder of rows and pages, or None.
    log: a file that gets a line for each new row, or None.
    project: a project of the tracker that gets a run for each new row, or None.

    Raise PrunebenchError if the log cannot be written, or the tracker is not installed.
    """
    listeners = [(f"the plugin {owner}", listener) for owner, listener in load().listeners]
    if project is not None:
        listeners.append(("--track", Tracker(project).cell_finished))
    if log is not None:
        listeners.append(("--log", LogFile(log).cell_finished))
    return Sinks(Journal(folder) if folder is not None else None, listeners)


class LogFile:
    """A file with a line of JSON for each new row of any suite, in the order of time.

    A line has the fields of the row, its `id`, the `time` when it was written and the `run` that made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = uuid.uuid4().hex[:12]
        self._append(b"")

    def cell_finished(self, row: Result) -> None:
        """Add a line."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"time": now, "run": self.run, "id": row.id, **row.values}
        self._append((json.dumps(line) + "\n").encode())

    def _append(self, content: bytes) -> None:
        with writing(self.path, "--log"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:  # at once, so that lines of two runs do not mix
                file.write(content)


class Tracker:
    """A project of trackio, with a run for each new row: what the cell is, its numbers and its training.

    It works without a network. `trackio show --project PROJECT` shows it.
    """

    def __init__(self, project: str) -> None:
        try:
            import trackio
        except ImportError as error:
            raise PrunebenchError(
                f"--track needs trackio ({error}); run: pip install 'prunebench[trackio]'"
            ) from None
        self.project = project
        self._trackio = trackio
        echo(f"--track: see the cells with: trackio show --project {project}", err=True)

    def cell_finished(self, row: Result) -> None:
        """Add a run."""
        identity = {name: value for name, value in row.values.items() if name in Record.model_fields}
        with redirect_stdout(io.StringIO()):  # it greets at each run
            self._trackio.init(
                project=self.project,
                name=f"{row.suite} {row.dataset} {row.method} {row.ratio} % seed {row.seed}",
                group=row.method,
                config=identity | {"id": row.id, "device": row.device_name},
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            for epoch, accuracy in row.history:
                self._trackio.log({"epoch_accuracy": accuracy}, step=int(epoch))
            self._trackio.log(numbers(row))
            self._trackio.finish()


def numbers(row: Result) -> dict[str, float]:
    """Return what was measured of a cell, as numbers by name. Those of a group are named GROUP/NAME."""
    found: dict[str, float] = {}
    for name, value in row.values.items():
        if name in Record.model_fields:
            continue
        group = value if isinstance(value, dict) else {"": value}
        for key, number in group.items():
            if isinstance(number, int | float) and not isinstance(number, bool):
                found[f"{name}/{key}".removesuffix("/")] = number
    return found | {"seconds": sum(row.seconds.values())}
