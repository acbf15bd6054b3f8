"""Result rows: one per finished cell, appended to DIR/results/SUITE/DATASET/METHOD.jsonl, and read back."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prunebench.files import writing
from prunebench.store import canonical

if TYPE_CHECKING:
    import pandas as pd

RESERVED = re.compile(r'[<>:"/\\|?*%\x00-\x1f]')  # in names of files, somewhere
LONGEST_NAME = 200  # bytes of a file name; most systems take 255
GPU_TOLERANCE = 0.3  # percentage points within which two GPU runs of one cell agree


class Result(BaseModel):
    """One finished cell. Accuracies are percentages on the clean test split, of the last epoch.

    tuned_on: what the values in `tuned` were chosen by, in `trials` trainings (0 where they were printed).
    labels_selection: true labels handed out before the selection; labels_training: images kept, 0 where
    the network that is tested did not train on true labels; labels_total: their union, which is what the
    subset cost in labels. quality, labels_per_class: of guessed labels (see `prunebench.quality.measure`),
    empty where nothing was guessed. seconds: by stage, as if this cell had been run alone; gpu_seconds:
    the part of them spent on a GPU. Keys name artefacts in the store that made the row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    method: str
    title: str
    reference: bool = False
    beside: str | None = None
    method_key: str
    dataset: str
    dataset_hash: str
    recipe: str
    repeats: str
    tuning: str
    tuned_on: str = "nothing"
    tuned: dict[str, float] = {}
    trials: int = 0
    changes: dict[str, Any] = {}
    ratio: int = Field(ge=0, le=99)
    seed: int = Field(ge=0)
    accuracy: float = Field(ge=0, le=100)
    best_accuracy: float = Field(ge=0, le=100, description="oracle: the best epoch on the test split")
    balanced_accuracy: float = Field(ge=0, le=100)
    worst_decile_recall: float = Field(ge=0, le=100)
    images: int
    kept: int
    kept_per_class: list[int]
    lost_classes: int
    annotation: float
    label_draw: str | None
    labels_selection: int
    labels_training: int
    labels_total: int
    labeler: str | None = None
    quality: dict[str, float] = {}
    labels_per_class: list[int] = []
    pretraining: list[str] = []
    seconds: dict[str, float]
    gpu_seconds: dict[str, float]
    device: str
    device_name: str
    subset_key: str
    accuracy_key: str
    protocol_version: int
    versions: dict[str, str]
    commit: str | None
    date: str
    supersedes: str | None = None

    @property
    def cell(self) -> tuple[Any, ...]:
        """What this row is a result of: rows of one cell must agree."""
        return (
            self.suite,
            self.method,
            self.method_key,
            self.dataset,
            self.dataset_hash,
            self.ratio,
            self.seed,
        )

    @property
    def id(self) -> str:
        """The name by which a correction supersedes this row."""
        return hashlib.sha256(canonical(self.model_dump()).encode()).hexdigest()[:12]

    def agrees(self, other: Result) -> bool:
        """Whether two rows of one cell say the same: exactly on a CPU, within 0.3 points with a GPU."""
        tolerance = GPU_TOLERANCE if "cuda" in (self.device, other.device) else 0.0
        return abs(self.accuracy - other.accuracy) <= tolerance


def path_of(folder: Path, row: Result) -> Path:
    """Return the file that holds the rows of one method on one dataset."""
    # A variant is named after its values, which may hold what some disks do not take.
    name = RESERVED.sub(lambda found: f"%{ord(found[0]):02X}", row.method)
    if len(name.encode()) > LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{digest}"
    return folder / "results" / row.suite / row.dataset / f"{name}.jsonl"


def append(folder: Path, row: Result) -> bool:
    """Add a row under a lock, unless its cell already has one that agrees; return whether it was added."""
    from filelock import FileLock

    path = path_of(folder, row)
    with writing(path, "--results"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "results" / ".lock"), writing(path, "--results"):
        rows, _ = read_file(path)
        if any(old.cell == row.cell and old.agrees(row) for old in rows):
            return False
        line = json.dumps(row.model_dump(), sort_keys=True) + "\n"
        torn = path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n"
        with path.open("ab") as file:
            file.write((b"\n" if torn else b"") + line.encode())
            file.flush()
            os.fsync(file.fileno())
    return True


def read_file(path: Path) -> tuple[list[Result], int]:
    """Return the rows of one file, and how many of its lines are damaged (a torn write, say)."""
    if not path.is_file():
        return [], 0
    rows, damaged = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(Result.model_validate_json(line))
        except ValidationError:
            damaged += bool(line.strip())
    return rows, damaged


def read(folder: Path, suite: str) -> tuple[list[Result], list[str]]:
    """Return all rows of a suite that no later row supersedes, and a line for each damaged file."""
    rows: list[Result] = []
    complaints = []
    for path in sorted((folder / "results" / suite).glob("*/*.jsonl")):
        found, damaged = read_file(path)
        rows += found
        if damaged:
            complaints.append(f"{path}: {damaged} damaged line(s) left out")
    superseded = {row.supersedes for row in rows}
    return [row for row in rows if row.id not in superseded], complaints


def suites(folder: Path) -> Iterator[str]:
    """Yield the names of the suites that have results in `folder`."""
    yield from sorted(path.name for path in (folder / "results").glob("*") if path.is_dir())


def frame(folder: Path, suite: str) -> pd.DataFrame:
    """Return the rows of a suite as a pandas DataFrame, one column per field."""
    import pandas as pd

    return pd.DataFrame([row.model_dump() for row in read(folder, suite)[0]])
