"""The .csv of `prune`: a line for each image, with what is to become of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.system import tables

STATUSES = KEPT, TO_LABEL, DROP = "keep_labeled", "to_label", "drop"
COLUMNS = ("file", "status", "pseudo_label", "confidence", "score", "duplicate_of")
REQUIRED = COLUMNS[:2]  # another program may have dropped the others, and an older `prune` wrote fewer


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is said of an image. The fields are the columns, as text. "" if there is no such column."""

    file: str
    status: str
    pseudo_label: str = ""
    confidence: str = ""
    score: str = ""
    duplicate_of: str = ""


def turn(file: str, score: float | None) -> tuple[float, bytes]:
    """Return what sorts the images to label. The highest score is first.

    Images without a score (None or NaN) come last, at random: by the hashes of their names. So the first of
    them are a random part, and the same table gives the same order.
    """
    lowest_last = math.inf if score is None or math.isnan(score) else -score
    return lowest_last, hashlib.sha256(file.encode()).digest()


def read(path: Path) -> list[Line]:
    """Return the lines of a .csv of `prune`, of this version or an older one.

    Raise PrunebenchError as `tables.read` does.
    Raise PrunebenchError if it is no .csv of `prune`: a status is unknown, a file is there twice, or no file.
    """
    if tables.has(path, "label") and not tables.has(path, "status"):
        raise PrunebenchError(f"{path} is a table of labels; give the .csv that `prune` wrote")
    present = (*REQUIRED, *(name for name in COLUMNS if name not in REQUIRED and tables.has(path, name)))
    lines = [Line(**dict(zip(present, row, strict=True))) for _, row in tables.read(path, *present)]
    if strange := [line.status for line in lines if line.status not in STATUSES]:
        raise PrunebenchError(f"{path} has the status {strange[0]!r}; known: {', '.join(STATUSES)}")
    if not lines:
        raise PrunebenchError(f"{path} lists no file")
    if len({line.file for line in lines}) < len(lines):
        raise PrunebenchError(f"{path} lists a file twice")
    return lines
