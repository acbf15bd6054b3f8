"""Export of the subset of a finished cell: to .npy, .csv or .json, or as a folder of links to the images."""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
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
from prunebench.system.files import write_folder, write_new


class Manifest(BaseModel):
    """The origin of a subset: its dataset, how it was chosen, and the cost in labels.

    fingerprint: the hash of the dataset's content.
    images: the number of training images.
    kept: the number of kept images.
    ratio: the percent of images pruned.
    label_fraction: the share of labels annotated before the selection, in 0..1.
    labels_selection: the number of labels annotated before the selection.
    labels_total: the number of labels in all.
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
    label_fraction: float
    labels_selection: int
    labels_total: int
    subset_key: str
    versions: dict[str, str]
    commit: str | None


class Listed(BaseModel):
    """The content of an exported .json.

    manifest: the origin of the subset.
    index: the kept images, counted from 0, ascending.
    """

    model_config = ConfigDict(frozen=True)

    manifest: Manifest
    index: list[int]


@dataclass(frozen=True)
class Kept:
    """The subset of a finished cell.

    cell: the cell.
    row: the row of the cell.
    index: the kept images, int64 [keep], ascending.
    scores: the scores of all training images, float64 [n], or None if the method has no scorer.
    data: the folder of datasets.
    """

    cell: Cell
    row: Result
    index: Array
    scores: Array | None
    data: Path

    @property
    def manifest(self) -> Manifest:
        """The origin of the subset."""
        values = self.row.model_dump(include=set(Manifest.model_fields))
        return Manifest(**values, fingerprint=self.row.dataset_hash)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all training images, or () if the dataset has none."""
        return self.cell.dataset.names(self.data)

    @cached_property
    def labels(self) -> Array | None:
        """The true labels of all training images, -1 for unknown: int64 [n].

        None if the final network did not train on true labels, because then nobody annotated the kept images.
        """
        if self.cell.method.final != "truth":
            return None
        return np.asarray(self.cell.dataset.load(self.data, "train")[1], dtype=np.int64)


def kept_by(matrix: Matrix, command: str) -> Kept:
    """Return the subset of the only cell of a matrix.

    command: the command that finishes the cell, for the message.

    Raise PrunebenchError if the cell is not finished, or one of its stages is no longer stored.
    Raise DataAbsentError if the dataset is not on this machine.
    """
    (cell,) = matrix.cells
    matrix.check_data()
    subset = matrix.graph.targets[cell].source("subset")
    assert isinstance(subset, Stage)
    try:
        row = record.row(matrix, cell)
        index = matrix.store.read(subset.key, Subset).index
        scorer = subset.source("scores")
        scores = matrix.store.read(scorer.key, Scores).values if scorer else None
    except MissingArtefactError:
        raise PrunebenchError(f"{cell.name} is not finished; run: {command}") from None
    return Kept(cell, row, index, scores, matrix.data)


def write(kept: Kept, output: str) -> bool:
    """Write a subset, completely or not at all. Return False if the output is up to date already.

    output: a name that ends in .npy, .csv or .json, or else a folder for links to the images.

    Raise PrunebenchError if the output exists with other content.
    Raise PrunebenchError for a folder if the images are not files, or have no true labels.
    """
    path = Path(output).expanduser()
    if path.name in ("", ".."):
        raise PrunebenchError(f"--output {output}: name a file or a folder to write")
    is_file = bool(path.suffix) and not output.endswith("/") and not path.is_dir()
    if is_file and path.suffix in WRITERS:
        return write_new(path, WRITERS[path.suffix](kept))
    if is_file:
        raise PrunebenchError(
            f"--output {output}: end it in {', '.join(WRITERS)}, or in / for a folder of links to the images"
        )
    return write_folder(path, links(kept))


def npy(kept: Kept) -> bytes:
    """Return a .npy file of the indices, int64 [keep]."""
    file = io.BytesIO()
    np.save(file, kept.index)
    return file.getvalue()


def table(kept: Kept) -> bytes:
    """Return a .csv file with a line per kept image: index, and file, label, class and score if known."""
    names = kept.names
    labels = kept.labels
    classes = kept.cell.dataset.classes
    columns: dict[str, list[Any]] = {"index": kept.index.tolist()}
    if names:
        columns["file"] = [names[index] for index in kept.index]
    if labels is not None:
        columns["label"] = labels[kept.index].tolist()
        columns["class"] = [classes[label] if label >= 0 else "" for label in columns["label"]]
    if kept.scores is not None:
        columns["score"] = kept.scores[kept.index].tolist()
    rows = zip(*(map(str, column) for column in columns.values()), strict=True)
    return tables.written(list(columns), rows).encode()


def listed(kept: Kept) -> bytes:
    """Return a .json file of manifest and indices. Each field of the manifest is on its own line."""
    manifest = kept.manifest.model_dump_json(indent=1)
    return f'{{"manifest": {manifest},\n"index": {json.dumps(kept.index.tolist())}}}\n'.encode()


WRITERS: dict[str, Callable[[Kept], bytes]] = {".npy": npy, ".csv": table, ".json": listed}


def links(kept: Kept) -> dict[str, Path]:
    """Return the file of each kept image, by its path CLASS/FILE in the folder to write.

    Raise PrunebenchError if an image is not a file of its own, or has no true label.
    """
    names = kept.names
    labels = kept.labels
    asked = f"a folder of {kept.cell.dataset.name}"
    if labels is None or labels[kept.index].min(initial=0) < 0:
        raise PrunebenchError(
            f"{asked}: not all images that {kept.cell.method.name} keeps have an annotated label, so "
            "there is no class to put them into; write .npy, .csv or .json"
        )
    files = _files(kept) if names else {}
    if any(index not in files for index in kept.index.tolist()):
        raise PrunebenchError(
            f"{asked}: its images are no files of their own on this machine; write .npy, .csv or .json"
        )
    classes = class_folders(kept.cell.dataset.classes)
    linked = _link_names(names, labels.tolist())
    return {f"{classes[labels[index]]}/{linked[index]}": files[index] for index in kept.index.tolist()}


def _link_names(names: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Return a file name for each image, unique within its class.

    Folders within a class are merged. If two of its images then share a name, all keep their whole path. If
    two still share one, as a/b_c.jpg and a_b/c.jpg do, all begin with their index.
    """
    short = [PurePosixPath(name).name for name in names]
    whole = [name.replace("/", "_") for name in names]
    for linked in (short, whole):
        if len({*zip(labels, linked, strict=True)}) == len(names):
            return linked
    return [f"{index}_{name}" for index, name in enumerate(whole)]


def class_folders(classes: Sequence[str]) -> list[str]:
    """Return a unique folder name for each class. ImageNet calls two classes crane."""
    folders = [re.sub(r"[/\\\0]|^\.", "_", name) for name in classes]
    # A numbered name may be that of another class, which is then numbered, too.
    while shared := {name for name, count in Counter(folders).items() if count > 1}:
        folders = [f"{name}_{label}" if name in shared else name for label, name in enumerate(folders)]
    return folders


def _files(kept: Kept) -> dict[int, Path]:
    """Return the files of the kept images, by index. Images without a file are left out.

    If the dataset does not name its files, they are found by the names of the images. The file
    train/CLASS/images/FILE fits the name CLASS/FILE: its folders contain those of the name, in their order.
    If two files fit, because the splits share names, the one in train/ is taken.
    """
    paths = kept.cell.dataset.paths(kept.data)
    if paths:
        return {index: paths[index].absolute() for index in kept.index.tolist()}
    files = [path.absolute() for path in kept.cell.dataset.files(kept.data)]
    top = Path(os.path.commonpath(files)) if files else Path()
    by_name: dict[str, list[tuple[str, ...]]] = {}
    for path in files:
        by_name.setdefault(path.name, []).append(path.relative_to(top).parts)
    by_index = {}
    names = kept.names
    for index in kept.index.tolist():
        *folders, name = names[index].split("/")
        fitting = [parts for parts in by_name.get(name, []) if _in_order(folders, parts[:-1])]
        if len(fitting) > 1:
            fitting = [parts for parts in fitting if parts[0] == "train"]
        if len(fitting) == 1:
            by_index[index] = top.joinpath(*fitting[0])
    return by_index


def _in_order(folders: list[str], path: tuple[str, ...]) -> bool:
    """Whether a path contains the folders in this order. Others may be in between."""
    position = 0
    for folder in folders:
        if folder not in path[position:]:
            return False
        position = path.index(folder, position) + 1
    return True


def read(path: Path) -> tuple[Array, Manifest | None]:
    """Return the indices that an exported .json or .npy lists, and the manifest of a .json.

    The indices are int64 [keep], ascending. The manifest of a .npy is None.
    Raise PrunebenchError if it is no such file.
    """
    if path.suffix not in (".json", ".npy"):
        raise PrunebenchError(
            f"{path} is no subset that can be loaded: expected a .json or .npy of prunebench export"
        )
    try:
        content = path.expanduser().read_bytes()
        if path.suffix == ".npy":
            index: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
            return _checked(path, index), None
        file = Listed.model_validate_json(content)
    except PrunebenchError:
        raise
    except Exception as error:  # any kind: NumPy parses the header of a .npy as a Python literal
        raise PrunebenchError(f"{path} cannot be read ({_reason(error)}); export it again") from None
    index = _checked(path, np.array(file.index, np.int64))
    if len(index) != file.manifest.kept:
        raise PrunebenchError(
            f"{path} lists {len(index)} images, but {file.manifest.kept} were kept; export it again"
        )
    return index, file.manifest


def _checked(path: Path, index: Array) -> Array:
    """Return indices as int64. Raise PrunebenchError unless they are integers from 0 that ascend."""
    integers = index.ndim == 1 and index.dtype.kind in "iu"
    if not integers or index.min(initial=0) < 0 or (np.diff(index.astype(np.int64)) <= 0).any():
        raise PrunebenchError(f"{path} does not list each image once, ascending from 0; export it again")
    return index.astype(np.int64)


def _reason(error: Exception) -> str:
    """Return one line about an error."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
