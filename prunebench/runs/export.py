"""The subset of a finished cell as a file of one's own: .npy, .csv, .json, or a folder of links to images."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts.artefacts import Array, Scores, Subset
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.results import record
from prunebench.results.rows import Result
from prunebench.suites.cells import Cell
from prunebench.system import tables
from prunebench.system.files import beside_of, write_new, writing


class Manifest(BaseModel):
    """What a subset is of, how it was chosen and what that cost: the fields of a row that say so.

    fingerprint: the hash of the dataset's content. images: how many training images that has.
    """

    model_config = ConfigDict(frozen=True)

    suite: str
    method: str
    method_key: str
    dataset: str
    fingerprint: str
    images: int = Field(ge=0)
    kept: int = Field(ge=0)
    ratio: int
    seed: int
    recipe: str
    repeats: str
    tuning: str
    changes: dict[str, Any]
    annotation: float
    labels_selection: int
    labels_total: int
    subset_key: str
    versions: dict[str, str]
    commit: str | None


class Listed(BaseModel):
    """What a .json of ours holds. index: the kept images, counted from 0, ascending."""

    model_config = ConfigDict(frozen=True)

    manifest: Manifest
    index: list[int]


@dataclass(frozen=True)
class Kept:
    """What a finished cell keeps. index: int64 [keep], ascending. scores: float64 [n], or None."""

    cell: Cell
    row: Result
    index: Array
    scores: Array | None
    data: Path

    @property
    def manifest(self) -> Manifest:
        """What it is, how it was chosen and what that cost."""
        values = self.row.model_dump(include=set(Manifest.model_fields))
        return Manifest(**values, fingerprint=self.row.dataset_hash)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all training images, or () where they have none."""
        return self.cell.dataset.names(self.data)

    @cached_property
    def labels(self) -> Array | None:
        """The true labels of all training images, -1 where nobody knows one.

        None where those of the kept images were not paid for, as nothing trained with them.
        """
        if self.cell.method.final != "truth":
            return None
        return np.asarray(self.cell.dataset.load(self.data, "train")[1], dtype=np.int64)


def kept_by(matrix: Matrix, command: str) -> Kept:
    """Return what the one cell of a matrix keeps.

    Raise PrunebenchError with the `command` that finishes the cell, unless it is finished and all that it
    rests on is stored; DataAbsentError where the dataset is not on this machine.
    """
    (cell,) = matrix.cells
    target = matrix.graph.targets[cell]
    if target.root.startswith("absent:"):
        cell.dataset.files(matrix.data)
    subset = target.source("subset")
    assert isinstance(subset, Stage)
    try:
        row, index = record.row(matrix, cell), matrix.store.read(subset.key, Subset).index
        given = subset.source("scores")
        scores = matrix.store.read(given.key, Scores).values if given else None
    except MissingArtefactError:
        raise PrunebenchError(f"{cell.name} is not finished; run: {command}") from None
    return Kept(cell, row, index, scores, matrix.data)


def write(kept: Kept, output: str) -> bool:
    """Write a subset, whole or not at all; return False where just that was there already.

    output: a name that ends in .npy, .csv or .json, or else a folder. Raise PrunebenchError where
    something else is there, or where a folder is asked for and the images are no files.
    """
    path = Path(output).expanduser()
    if path.name in ("", ".."):
        raise PrunebenchError(f"--output {output}: name a file or a folder that is to be made")
    if path.suffix in WRITERS and not output.endswith("/") and not path.is_dir():
        content = WRITERS[path.suffix](kept)
        with writing(path, "--output"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return write_new(path, content)
    if path.suffix and not output.endswith("/") and not path.is_dir():
        raise PrunebenchError(
            f"--output {output}: end it in {', '.join(WRITERS)}, or in / for a folder of links to the images"
        )
    return _write_folder(path, links(kept))


def npy(kept: Kept) -> bytes:
    """Return the indices, int64 [keep], as np.load reads them."""
    file = io.BytesIO()
    np.save(file, kept.index)
    return file.getvalue()


def table(kept: Kept) -> bytes:
    """Return a line per kept image: index, and as far as there are such: file, label, class, score."""
    names, labels, classes = kept.names, kept.labels, kept.cell.dataset.classes
    columns: dict[str, list[Any]] = {"index": kept.index.tolist()}
    if names:
        columns["file"] = [names[place] for place in kept.index]
    if labels is not None:
        columns["label"] = labels[kept.index].tolist()
        columns["class"] = [classes[label] if label >= 0 else "" for label in columns["label"]]
    if kept.scores is not None:
        columns["score"] = kept.scores[kept.index].tolist()
    rows = zip(*(map(str, column) for column in columns.values()), strict=True)
    return tables.written(list(columns), rows).encode()


def listed(kept: Kept) -> bytes:
    """Return indices and manifest as JSON, the manifest a line per field."""
    manifest = kept.manifest.model_dump_json(indent=1)
    return f'{{"manifest": {manifest},\n"index": {json.dumps(kept.index.tolist())}}}\n'.encode()


WRITERS: dict[str, Callable[[Kept], bytes]] = {".npy": npy, ".csv": table, ".json": listed}


def links(kept: Kept) -> dict[str, Path]:
    """Return the file of each kept image, by its place CLASS/FILE in a folder of images.

    Raise PrunebenchError where the images are no files of their own, or without the true labels.
    """
    names, labels = kept.names, kept.labels
    asked = f"a folder of {kept.cell.dataset.name}"
    if labels is None or labels[kept.index].min(initial=0) < 0:
        raise PrunebenchError(
            f"{asked}: not all images that {kept.cell.method.name} keeps have a label that was paid for, so "
            "there is no class to put them into; write .npy, .csv or .json"
        )
    found = _files(kept) if names else {}
    if any(place not in found for place in kept.index.tolist()):
        raise PrunebenchError(
            f"{asked}: its images are no files of their own on this machine; write .npy, .csv or .json"
        )
    classes = _folders(kept.cell.dataset.classes)
    short = [(label, PurePosixPath(name).name) for name, label in zip(names, labels.tolist(), strict=True)]
    # Folders in a class become one; where that gives two images one name, all go by their whole path.
    flat = [name.replace("/", "_") for name in names] if len({*short}) < len(short) else [n for _, n in short]
    return {f"{classes[labels[place]]}/{flat[place]}": found[place] for place in kept.index.tolist()}


def _folders(classes: tuple[str, ...]) -> list[str]:
    """Return a folder name for each class, unlike all others: ImageNet calls two classes crane."""
    plain = [re.sub(r"[/\\\0]|^\.", "_", name) for name in classes]
    seen = Counter(plain)
    return [name if seen[name] == 1 else f"{name}_{label}" for label, name in enumerate(plain)]


def _files(kept: Kept) -> dict[int, Path]:
    """Return the file of each kept image that has one, by index.

    Where the dataset does not tell, it is the file called as the image is, below folders called as its name
    has them, others in between or not: train/CLASS/images/FILE for CLASS/FILE. Of two such, where the splits
    share names, it is the one in train/.
    """
    if told := kept.cell.dataset.paths(kept.data):
        return {place: told[place].absolute() for place in kept.index.tolist()}
    files = [path.absolute() for path in kept.cell.dataset.files(kept.data)]
    top = Path(os.path.commonpath(files)) if files else Path()
    by_name: dict[str, list[tuple[str, ...]]] = {}
    for path in files:
        by_name.setdefault(path.name, []).append(path.relative_to(top).parts)
    found = {}
    names = kept.names
    for place in kept.index.tolist():
        folders = names[place].split("/")
        fitting = [parts for parts in by_name.get(folders.pop(), []) if _run_through(parts, folders)]
        if len(fitting) > 1:
            fitting = [parts for parts in fitting if parts[0] == "train"]
        if len(fitting) == 1:
            found[place] = top.joinpath(*fitting[0])
    return found


def _run_through(parts: tuple[str, ...], folders: list[str]) -> bool:
    """Whether a path has these folders in this order, others in between or not."""
    left = iter(parts[:-1])
    return all(folder in left for folder in folders)


def _write_folder(path: Path, wanted: dict[str, Path]) -> bool:
    there = {
        file.relative_to(path).as_posix(): file.readlink() if file.is_symlink() else None
        for file in path.rglob("*")
        if file.is_symlink() or not file.is_dir()
    }
    if there or (path.exists() and not path.is_dir()):
        if there == wanted:
            return False
        raise PrunebenchError(f"{path} exists and holds something else; remove it or choose another --output")
    with writing(path, "--output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = beside_of(path)
        try:
            for place, file in wanted.items():
                (beside / place).parent.mkdir(parents=True, exist_ok=True)
                (beside / place).symlink_to(file)
            beside.replace(path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return True


def read(path: Path) -> tuple[Array, Manifest | None]:
    """Return what a .json or .npy of ours lists, int64 [keep], ascending, and the manifest of a .json.

    Raise PrunebenchError where it is no such file.
    """
    if path.suffix not in (".json", ".npy"):
        raise PrunebenchError(
            f"{path} is no subset that can be loaded: expected a .json or .npy of prunebench export"
        )
    try:
        content = path.expanduser().read_bytes()
        if path.suffix == ".npy":
            found: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
            return _checked(path, found), None
        file = Listed.model_validate_json(content)
    except PrunebenchError:
        raise
    except Exception as error:  # of any kind: the header of a damaged .npy is parsed as Python's literals
        raise PrunebenchError(f"{path} is not read ({_reason(error)}); export it again") from None
    index = _checked(path, np.array(file.index, np.int64))
    if len(index) != file.manifest.kept:
        raise PrunebenchError(
            f"{path} lists {len(index)} images, but {file.manifest.kept} were kept; export it again"
        )
    return index, file.manifest


def _checked(path: Path, index: Array) -> Array:
    whole = index.ndim == 1 and index.dtype.kind in "iu"
    if not whole or index.min(initial=0) < 0 or (np.diff(index.astype(np.int64)) <= 0).any():
        raise PrunebenchError(f"{path} does not list each image once, ascending from 0; export it again")
    return index.astype(np.int64)


def _reason(error: Exception) -> str:
    """Return one line about an error."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
