"""Verifications: who made which row again, with which result. They are beside the rows, and change none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from prunebench.results.rows import OPTION, Records, Result, checked, content_of, line
from prunebench.system.files import replace_file
from prunebench.system.leases import lease

NAME = "verified.jsonl"  # of the file, beside the folders of the datasets


class Verification(BaseModel):
    """One row that was made again and agreed.

    row: the id of the row.
    accuracy: that of the row made again, in percent.
    device_name, versions, commit, date: the machine and the code that made it again, and when.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: str
    suite: str
    method: str
    dataset: str
    ratio: int
    seed: int
    accuracy: float
    device: str
    device_name: str
    versions: dict[str, str]
    commit: str | None
    date: str


def verification(row: Result, again: Result) -> Verification:
    """Return the verification of a row. again: the row as it was made here."""
    here = {"device", "device_name", "versions", "commit", "date", "accuracy"}
    cell = {"suite", "method", "dataset", "ratio", "seed"}
    values = row.model_dump(include=cell) | again.model_dump(include=here)
    return Verification(row=row.id, **values)


def path_of(folder: Path, suite: str) -> Path:
    """Return the file of the verifications of a suite's rows."""
    return folder / "results" / suite / NAME


def append(folder: Path, found: Verification) -> bool:
    """Add a verification; return whether it was added.

    It is not where the same machine verified the row before.
    Raise PrunebenchError where it cannot be written.
    """
    path = path_of(folder, found.suite)
    with lease(folder / "results" / ".rows", "adding a verification", OPTION):
        known, _ = read(folder, found.suite)
        if any((one.row, _machine(one)) == (found.row, _machine(found)) for one in known):
            return False
        lines = content_of(path).splitlines(keepends=True)
        ended = [text.rstrip(b"\n") + b"\n" for text in lines]  # the last line may be torn
        replace_file(path, b"".join([*ended, line(found.model_dump())]), OPTION)
    return True


def _machine(found: Verification) -> tuple[str, str]:
    return found.device_name, found.versions.get("torch", "")


def read(folder: Path, suite: str) -> tuple[list[Verification], list[str]]:
    """Return the verifications of a suite's rows, and a line if the file has others that cannot be read."""
    path = path_of(folder, suite)
    found = []
    unread = 0
    for text in content_of(path).splitlines():
        try:
            found.append(Verification.model_validate(checked(text)))
        except ValidationError:
            unread += 1
    return found, [
        f"{path.relative_to(folder)}: {unread} line(s) left out, damaged or newer"
    ] if unread else []


def confirmed(records: Records, found: Iterable[Verification]) -> frozenset[str]:
    """Return the ids of the rows that were made again, or that supersede such a row and say the same.

    A row that is certified afterwards supersedes itself, and stays verified.
    """
    verified = {one.row for one in found}
    successors = (row for row in records.rows if row.supersedes and verified)
    return frozenset(
        verified | {row.id for row in successors if not verified.isdisjoint(_before(row, records))}
    )


def _before(row: Result, records: Records) -> Iterator[str]:
    """Yield the ids of the rows before this one, one after the other, while their accuracy is its own."""
    earlier = row
    while earlier.supersedes in records.superseded:
        id = earlier.supersedes
        earlier = records.superseded[id]
        if earlier.accuracy != row.accuracy:
            return
        yield id
