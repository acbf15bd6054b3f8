"""Adds rows and failures to their files, one process at a time, and mends damaged files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunebench.results.rows import (
    OPTION,
    Failure,
    Lines,
    Record,
    Result,
    Stamp,
    line,
    lines_of,
    path_of,
    read_file,
    stamp_of,
)
from prunebench.system.files import replace_file, writing
from prunebench.system.leases import lease

Index = dict[tuple[Any, ...], list[Record]]  # the records of each cell


class Journal:
    """Adds rows to the files under a folder, one process at a time.

    It remembers what the files hold. Of a file to which other processes only added lines, it reads these.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[Path, _Seen] = {}

    def append(self, row: Record) -> Record | None:
        """Add a row or a failure. Return it as it was added, or None if it was not.

        A row is not where its cell has one of equal accuracy. A failure is not where its cell has a row or
        failed so before. The first certified row of a cell is added, and supersedes the one that agrees,
        of whatever machine. Damaged lines of its file are set aside in a file beside it.
        Raise PrunebenchError where the row cannot be written.
        """
        path = path_of(self.folder, row)
        if self._is_settled(path, row):
            return None  # without a lease, as rows that are there stay
        with writing(path, OPTION):
            path.parent.mkdir(parents=True, exist_ok=True)
            with lease(self.folder / "results" / ".rows", "adding a row", OPTION):
                seen = self._look(path)
                known = seen.index.setdefault(row.cell, [])
                if any(_settles(record, row) for record in known):
                    return None
                row = _superseding(row, known)
                seen.end = line(row.values)
                with path.open("ab") as file:
                    file.write(seen.end)
                    file.flush()
                    os.fsync(file.fileno())
                known.append(row)
                seen.stamp = stamp_of(path)
        return row

    def find(self, cell: Record, accuracy_key: str, date: str) -> Result | None:
        """Return the row of a cell that says what an accuracy of this key and date is, or None.

        Damaged lines of its file are set aside in a file beside it.
        Raise PrunebenchError where its file cannot be read.
        """
        path = path_of(self.folder, cell)
        seen, stamp = self._files.get(path), stamp_of(path)
        if stamp is None:
            return None
        if seen is None or seen.stamp != stamp:
            with writing(path, OPTION), lease(self.folder / "results" / ".rows", "reading rows", OPTION):
                seen = self._look(path)
        rows = (row for row in seen.index.get(cell.cell, []) if isinstance(row, Result))
        return next((row for row in rows if (row.accuracy_key, row.date) == (accuracy_key, date)), None)

    def _is_settled(self, path: Path, row: Record) -> bool:
        """Whether a file that is as this process last saw it has a record that makes `row` needless."""
        seen = self._files.get(path)
        if seen is None or seen.stamp is None or seen.stamp != stamp_of(path):
            return False
        return any(_settles(record, row) for record in seen.index.get(row.cell, []))

    def _look(self, path: Path) -> _Seen:
        """Return what a file holds, once it holds whole lines alone. The caller has the lease."""
        seen = self._files.get(path)
        if seen is None or seen.stamp != stamp_of(path):
            lines = None if seen is None else _added(path, seen)
            if seen is None or lines is None:
                seen, lines = _Seen(), _healed(path)
            for row in (*lines.rows, *lines.failures):
                seen.index.setdefault(row.cell, []).append(row)
            seen.end = lines.good[-1] if lines.good else b""
            seen.stamp = stamp_of(path)
            self._files[path] = seen
        return seen


@dataclass
class _Seen:
    """What a process knows of a file of rows.

    stamp: when it was so.
    index: the records of each cell.
    end: its last line.
    """

    stamp: Stamp = None
    index: Index = field(default_factory=dict)
    end: bytes = b""


def _healed(path: Path) -> Lines:
    """Return the lines of a file. Those that are damaged are set aside in a file beside it."""
    lines = read_file(path)
    if lines.damaged:
        with path.with_name(f"{path.name}.damaged").open("ab") as file:
            file.writelines(lines.damaged)
    if lines.damaged or lines.unended:
        replace_file(path, b"".join(lines.good), OPTION)
    return lines


def _added(path: Path, seen: _Seen) -> Lines | None:
    """Return the lines that came to a file after `seen`, or None if anything else may have changed in it."""
    now = stamp_of(path)
    if seen.stamp is None or now is None or seen.stamp[2] != now[2] or seen.stamp[0] >= now[0]:
        return None
    with path.open("rb") as file:
        file.seek(seen.stamp[0] - len(seen.end))
        content = file.read()
    lines = lines_of(content.removeprefix(seen.end))
    whole = content.startswith(seen.end) and not (lines.damaged or lines.unended)
    return lines if whole and lines.good else None


def _settles(known: Record, record: Record) -> bool:
    """Whether a record of a cell makes another record of it needless."""
    if isinstance(known, Result) and isinstance(record, Result):
        return known.certified >= record.certified and known.agrees(record)
    if isinstance(known, Failure):
        return isinstance(record, Failure) and known.failed == record.failed
    return True


def _superseding(row: Record, known: Iterable[Record]) -> Record:
    """Return a certified row as the successor of the one that says the same without a certificate, if any."""
    if not isinstance(row, Result) or not row.certified:
        return row
    for record in known:
        if isinstance(record, Result) and record.agrees(row):
            return row.model_copy(update={"supersedes": record.id})
    return row
