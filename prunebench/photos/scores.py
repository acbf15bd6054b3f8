"""Scores of photos that somebody else computed, and the method that chooses the highest of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.photos.folder import matched, some
from prunebench.system import parquet, tables

COLUMNS = ("file", "score")


def read_scores(path: Path, names: Sequence[str], folder: Path) -> dict[str, str]:
    """Return the score of each image as it is written, a finite number.

    path: a .csv or .parquet with the columns file and score. A row without a score is skipped.
    names: the images of the folder.

    Raise PrunebenchError as `tables.read`, `parquet.read` and `folder.matched` do.
    Raise PrunebenchError if a score is no number, or if an image has no score, or two.
    """
    listed: dict[str, str] = {}
    for name, text in _rows(path):
        score = text.strip()
        if score and not tables.NUMBER.fullmatch(score):
            raise PrunebenchError(f"{path} has the score {score!r} of {some([name])}, expected a number")
        if score and listed.setdefault(name, score) != score:
            raise _two_scores(path, name)
    scores: dict[str, str] = {}
    for given, name in matched(path, listed, names, folder).items():
        if scores.setdefault(name, listed[given]) != listed[given]:
            raise _two_scores(path, name)
    if lacking := [name for name in names if name not in scores]:
        raise PrunebenchError(
            f"{path} has no score of {len(lacking)} of the {len(names)} images: {some(lacking)}"
        )
    return scores


def _rows(path: Path) -> Iterable[tuple[str, str]]:
    """Yield file and score of each row."""
    if path.suffix.lower() == ".parquet":
        columns = parquet.read(path, COLUMNS)
        return zip(*(columns[name] for name in COLUMNS), strict=True)
    return ((name, score) for _, (name, score) in tables.read(path, *COLUMNS))


def _two_scores(path: Path, name: str) -> PrunebenchError:
    return PrunebenchError(f"{path} has two scores of {some([name])}; keep one of the two")


def own_scores(scores: Mapping[str, str], names: Iterable[str], folder: Path) -> Method:
    """Return the method that keeps the images of the highest scores. Write their table into a folder.

    scores: by image.
    names: the images to choose from.
    """
    table = tables.filed(folder, COLUMNS, [(name, scores[name]) for name in names])
    file, score = COLUMNS
    read = {"part": "file", "path": str(table), "name_column": file, "column": score, "label_fraction": 0.0}
    parts = {"scorer": load().part("scorer", read), "selector": load().part("selector", "top")}
    return Method("own_scores", title="Own scores", **parts)  # type: ignore[arg-type]
