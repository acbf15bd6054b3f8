"""Result rows: one per finished cell, read from the lines of DIR/results/SUITE/DATASET/METHOD.jsonl.

Each line carries a checksum, so that a torn or changed one is noticed and never taken for a result.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from prunebench.errors import PrunebenchError
from prunebench.suites.schema import repeat_of
from prunebench.system.files import settled
from prunebench.system.garbage import no_garbage
from prunebench.system.sealed_json import canonical

if TYPE_CHECKING:
    import pandas as pd

RESERVED = re.compile(r'[<>:"/\\|?*%\x00-\x1f]')  # in names of files, somewhere
LONGEST_NAME = 200  # bytes of a file name; most systems take 255
OPTION = "--results"  # what chooses where rows are
BOM = b"\xef\xbb\xbf"  # some editors put it before the first line
# Fields that the first rows lack, with the values that say nothing. The ids of those rows must stay, so such
# a field is left out where it has that value.
LATER: Mapping[str, Any] = {
    "matched_in": "labels",
    "history": [],
    "accuracy_shifted": {},
    "accuracy_transferred": {},
    "calibration": {},
    "work": {},
    "certified": False,
}
Stamp = tuple[int, int, int] | None  # size, time and number of a file


class Record(BaseModel):
    """What became of one cell, finished or failed: what it is, whatever that was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    method: str
    title: str
    reference: bool = False
    matched_to: str | None = None
    matched_in: str = "labels"
    method_key: str
    dataset: str
    dataset_hash: str
    recipe: str
    repeats: str
    tuning: str
    changes: dict[str, Any] = Field(default_factory=dict)
    ratio: int = Field(ge=0, le=99)
    seed: int = Field(ge=0)
    label_fraction: float
    protocol_version: int

    @property
    def cell(self) -> tuple[Any, ...]:
        """What this is a result of: rows of one cell must agree."""
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
    def labeler_repeat(self) -> int:
        """The repeat of the labeler: the seed, or 0 if all seeds share one labeler."""
        return repeat_of("labeler", self.repeats, self.seed)

    @property
    def recipe_changes(self) -> tuple[str, ...]:
        """The fields of the recipe that --set changed, each with its value: `lr=0.2`."""
        changed = [path for path in sorted(self.changes) if path.startswith("recipe.")]
        return tuple(f"{path.removeprefix('recipe.')}={self.changes[path]}" for path in changed)

    @property
    def values(self) -> dict[str, Any]:
        """The fields, as a line holds them."""
        return self.model_dump()


class Failure(Record):
    """A cell that could not be finished, and why; of no account once the cell has a row."""

    failed: str


class Result(Record):
    """One finished cell. Accuracies are percentages on the clean test split, of the last epoch.

    tuned_on: what the values in `tuned` were chosen by.
    trials: number of trainings that chose them. 0 if they were printed.
    best_accuracy: that of the best epoch on the test split, an oracle.
    history: [epoch, accuracy] of the evaluations during the final training. Old rows lack it.
    accuracy_shifted: on the test images under a corruption, by its name. Empty without the exam "shift".
    accuracy_transferred: of other networks trained on the same images, by name. Empty without such exams.
    calibration: as `prunebench.pipeline.calibration.measure` says. Empty without the exam "calibration".
    constant_scores: True if the scorer gave every image the same score, which is no order at all.
    changes: the values of --set that concern this method or the recipe.
    labels_selection: number of true labels annotated before the selection.
    labels_training: number of images kept. 0 if the tested network did not train on true labels.
    labels_total: number of images in their union, which is what the subset cost in labels.
    quality: that of pseudo-labels, as `prunebench.pipeline.label_quality.measure` says. Empty without any.
    labels_per_class: number of images with each pseudo-label. Empty without any.
    pretraining: what the backbones of the method saw before.
    final_network: what final networks are, unless they are the proxy's network on images: another network, a
        head and its frozen backbone, or a backbone that is fine-tuned. Of a backbone also what it saw before,
        and of a fine-tuned one the first digits of the sha256 of its weights. None: the proxy's network.
    seconds: by stage, as if this cell had been run alone.
    gpu_seconds: the part of them spent on a GPU.
    work: by stage, in units that do not depend on the load of the machine: "steps" of trainings, "images"
        that these trained on, each as often as it was seen, "images_forward" that networks only looked at,
        without a step, "multiply_adds" of networks, and "cpu_seconds" of this processor. "gpu_joules" are
        those of the GPU, if its driver counts them and no other stage used it. Empty if a stage was made
        before work was counted. No stage has "images_forward" if one was made before these were.
    micro_batch: the fewest images that a training of this cell saw at once, because the device lacked memory
        for the recipe's batch. BatchNorm then worked on fewer. None: no training lacked memory.
    subset_key: key of the subset in the store that made the row.
    accuracy_key: key of the accuracy in that store.
    certified: whether the run that made the row also made its selection without the truth, with the same
        result. See `prunebench.runs.certify`.
    """

    tuned_on: str = "nothing"
    tuned: dict[str, float] = Field(default_factory=dict)
    trials: int = 0
    accuracy: float = Field(ge=0, le=100)
    best_accuracy: float = Field(ge=0, le=100, description="oracle: the best epoch on the test split")
    balanced_accuracy: float = Field(ge=0, le=100)
    worst_decile_recall: float = Field(ge=0, le=100)
    history: list[list[float]] = Field(default_factory=list)
    accuracy_shifted: dict[str, float] = Field(default_factory=dict)
    accuracy_transferred: dict[str, float] = Field(default_factory=dict)
    calibration: dict[str, float] = Field(default_factory=dict)
    images: int
    kept: int
    kept_per_class: list[int]
    lost_classes: int
    constant_scores: bool = False
    label_draw: str | None
    labels_selection: int
    labels_training: int
    labels_total: int
    labeler: str | None = None
    quality: dict[str, float] = Field(default_factory=dict)
    labels_per_class: list[int] = Field(default_factory=list)
    pretraining: list[str] = Field(default_factory=list)
    final_network: str | None = None
    seconds: dict[str, float]
    gpu_seconds: dict[str, float]
    work: dict[str, dict[str, float]] = Field(default_factory=dict)
    micro_batch: int | None = None
    device: str
    device_name: str
    subset_key: str
    accuracy_key: str
    versions: dict[str, str]
    commit: str | None
    date: str
    supersedes: str | None = None
    certified: bool = False

    @property
    def id(self) -> str:
        """The name by which a correction supersedes this row, and a verification confirms it."""
        return hashlib.sha256(canonical(self.values).encode()).hexdigest()[:12]

    @property
    def values(self) -> dict[str, Any]:
        """The fields, as a line holds them: without those of LATER that say nothing."""
        return self.model_dump(exclude={name for name in LATER if getattr(self, name) == LATER[name]})

    @property
    def machine(self) -> tuple[str, str]:
        """What decides how a training rounds: the model of the processor, and the version of torch."""
        return self.device_name, self.versions.get("torch", "")

    def agrees(self, other: Result, tolerance: float = 0.0) -> bool:
        """Whether two rows of one cell say the same: exactly on a CPU, within a tolerance with a GPU.

        tolerance: percentage points, see `prunebench.results.agreement.tolerances`. 0: none is known.

        Rows of different machines need not. Each rounds in its own way, and a training then ends elsewhere.
        """
        allowed = tolerance if "cuda" in (self.device, other.device) else 0.0
        return abs(self.accuracy - other.accuracy) <= allowed


def path_of(folder: Path, row: Record) -> Path:
    """Return the file that holds the rows of one method on one dataset."""
    return rows_path(folder, row.suite, row.dataset, row.method)


@lru_cache(maxsize=2**12)  # each row asks for it
def rows_path(folder: Path, suite: str, dataset: str, method: str) -> Path:
    """Return the file of rows of a method on a dataset; long names are cut, and a hash keeps them apart."""
    return folder / "results" / suite / file_name(dataset) / f"{file_name(method)}.jsonl"


def file_name(name: str) -> str:
    """Return a name as every disk takes it: a variant is named after its values, which may hold anything."""
    safe = RESERVED.sub(lambda letter: f"%{ord(letter[0]):02X}", name)
    if len(safe.encode()) <= LONGEST_NAME:
        return safe
    digest = hashlib.sha256(safe.encode()).hexdigest()[:12]
    return f"{safe.encode()[:LONGEST_NAME].decode(errors='ignore')}-{digest}"


def line(values: dict[str, Any]) -> bytes:
    """Return the values of a row as the line of a file, with their checksum."""
    return (json.dumps({**values, "check": _check(values)}, sort_keys=True) + "\n").encode()


def _check(values: dict[str, Any]) -> str:
    return _digest(canonical(values).encode())


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


@dataclass
class Lines:
    """The lines of a file of rows, each with its end.

    good: those whose checksum fits. rows, failures: what they say, `newer` of them excepted, which this
    version cannot read. damaged: all others. unended: whether the last line lacked its end.
    """

    rows: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    good: list[bytes] = field(default_factory=list)
    newer: int = 0
    damaged: list[bytes] = field(default_factory=list)
    unended: bool = False

    def add(self, text: bytes) -> None:
        """Add a line, given without its end."""
        values = checked(text)
        (self.damaged if values is None else self.good).append(text + b"\n")
        try:
            if values and "failed" in values:
                self.failures.append(Failure.model_validate(values))
            elif values:
                self.rows.append(Result.model_validate(values))
        except ValidationError:
            self.newer += 1


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file as it is now, or None where none can be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def read_file(path: Path) -> Lines:
    """Return the lines of a file of rows; none where it does not exist. An unchanged file is read once."""
    stamp = stamp_of(path)
    if stamp is None or not settled(stamp[1]):
        return lines_of(content_of(path).removeprefix(BOM))
    return _settled_lines(path, stamp)


@lru_cache(maxsize=2**10)  # a run reads rows to find those that are there, and again for its page
def _settled_lines(path: Path, _stamp: Stamp) -> Lines:
    return lines_of(content_of(path).removeprefix(BOM))


def lines_of(content: bytes) -> Lines:
    """Return the lines in the bytes of a file of rows."""
    lines = Lines(unended=content[-1:] not in (b"", b"\n"))
    with no_garbage():  # of which rows are none
        for text in content.splitlines():  # of bytes: at line feeds and carriage returns alone
            if text.strip():
                lines.add(text)
    return lines


def content_of(path: Path) -> bytes:
    """Return the bytes of a file of rows; none where it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise PrunebenchError(
            f"cannot read {path}: {error.strerror}; mend it or name another {OPTION}"
        ) from None


def checked(text: bytes) -> dict[str, Any] | None:
    """Return the values of a line, or None unless they are those it was written with."""
    try:
        values = from_json(text, allow_inf_nan=False)
        check = values.pop("check")
        # As written, keys are sorted. Then pydantic's text is the canonical one, in a fifth of the time.
        same = check == _digest(to_json(values)) or check == _check(values)
        return values if same else None
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None


def read(folder: Path, suite: str) -> tuple[list[Result], list[str]]:
    """Return all rows of a suite that no later row supersedes, and a line for each file with other lines."""
    found = read_all(folder, suite)
    return found.rows, found.complaints


@dataclass
class Records:
    """All that is on record of a suite: rows, failures of cells without one, and what cannot be read.

    superseded: the rows that a later one supersedes, by id. They are not among `rows`.
    """

    rows: list[Result] = field(default_factory=list)
    superseded: dict[str, Result] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def read_all(folder: Path, suite: str) -> Records:
    """Return what is on record of a suite."""
    found = Records()
    for path in sorted((folder / "results" / suite).glob("*/*.jsonl")):
        lines, name = read_file(path), path.relative_to(folder)
        found.rows += lines.rows
        found.failures += lines.failures
        if damaged := len(lines.damaged):
            found.complaints.append(f"{name}: {damaged} damaged line(s) left out; run their cells again")
        if lines.newer:
            found.complaints.append(f"{name}: {lines.newer} row(s) of a newer version of prunebench left out")
    found.rows, found.superseded = _parted(found.rows)
    if found.failures:
        finished = {row.cell for row in found.rows}
        found.failures = [failure for failure in found.failures if failure.cell not in finished]
    return found


def without_superseded(rows: list[Result]) -> list[Result]:
    """Return the rows that none of them supersedes."""
    return _parted(rows)[0]


def _parted(rows: list[Result]) -> tuple[list[Result], dict[str, Result]]:
    """Return the rows that none of them supersedes, and the others by id."""
    superseded = {row.supersedes for row in rows} - {None}
    if not superseded:
        return rows, {}  # to hash every row takes seconds
    ids = [row.id for row in rows]
    others = {id: row for id, row in zip(ids, rows, strict=True) if id in superseded}
    return [row for id, row in zip(ids, rows, strict=True) if id not in superseded], others


def suites(folder: Path) -> Iterator[str]:
    """Yield the names of the suites that have results in `folder`."""
    yield from sorted({path.parent.parent.name for path in (folder / "results").glob("*/*/*.jsonl")})


def frame(folder: Path, suite: str) -> pd.DataFrame:
    """Return the rows of a suite as a pandas DataFrame, one column per field."""
    import pandas as pd

    return pd.DataFrame([row.model_dump() for row in read(folder, suite)[0]])
