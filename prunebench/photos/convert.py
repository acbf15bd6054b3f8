"""Turns a .csv of `draw` or `prune` into what the programs read in which people label, look and train."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from prunebench.errors import PrunebenchError, unknown
from prunebench.photos import folder as photos
from prunebench.photos.prune import remembered
from prunebench.photos.source import folder_of
from prunebench.photos.targets import TARGETS, Photo, Table
from prunebench.pipeline.store import Store
from prunebench.runs import kept, places
from prunebench.runs.kept import KEPT, TO_LABEL
from prunebench.runs.places import Place
from prunebench.system import tables
from prunebench.system.files import write_folder, write_new

ENDINGS = (".csv", ".json", ".parquet", ".tar", ".txt", ".xml", ".zip")  # no folder is meant


def convert(
    table: str | Path,
    to: str,
    output: str | Path,
    *,
    folder: str | Path | None = None,
    prefix: str | None = None,
    store: Place = None,
    data: Place = None,
) -> tuple[bool, Table]:
    """Write what another program reads. Return False if it is there already, and the table.

    table: a .csv of `draw` or `prune`.
    to: one of `TARGETS`.
    output: the file or folder to write.
    folder: the folder of photos, or what `source.folder_of` unpacks. None: that of the `prune` that wrote the
        table.
    prefix: what stands before each file where the other program sees it, for label-studio and cvat.
    store: folder of artefacts, which knows the folder of a `prune`.
    data: where photos are unpacked.

    Raise PrunebenchError if the table is none of `draw` or `prune`, lists a file twice or files that are not
    in the folder, or if the target needs a folder that is unknown.
    Raise PrunebenchError if the output exists and holds something else, lies in the folder, or is named as a
    file where it is a folder.
    """
    if to not in TARGETS:
        raise unknown("target", to, TARGETS, "docs/exchange.md")
    path, goal = Path(table).expanduser(), Path(output).expanduser()
    top = None if folder is None else folder_of(folder, data)
    read = replace(_read(path, top, store), prefix=prefix)
    if read.folder is not None:
        photos.check_outside(read.folder, goal, "--output")
    made = TARGETS[to](read)
    if not isinstance(made, bytes) and goal.suffix.lower() in ENDINGS:
        raise PrunebenchError(
            f"--output {output}: {to} is a folder of files; leave the ending {goal.suffix} out"
        )
    return write_new(goal, made) if isinstance(made, bytes) else write_folder(goal, made), read


def _read(path: Path, folder: str | Path | None, store: Place) -> Table:
    """Return the table, with the names that the files have in the folder, if it is known."""
    ordered = not tables.has(path, "status")
    lines = _drawn(path) if ordered else _pruned(path)
    if twice := [name for name, count in Counter(photo.file for photo in lines).items() if count > 1]:
        raise PrunebenchError(f"{path} lists {len(twice)} file(s) twice: {photos.some(twice)}")
    if folder is None:
        rows = [(photo.file, photo.status) for photo in lines]
        folder = remembered(rows, Store(places.folder("store", store))).get("folder")
    if folder is None:
        return Table(path=path, photos=tuple(lines), ordered=ordered)
    top = Path(folder).expanduser().resolve()
    names = photos.matched(path, [photo.file for photo in lines], photos.survey(top).images, top)
    photos_in_folder = tuple(replace(line, file=names[line.file]) for line in lines)
    return Table(path=path, photos=photos_in_folder, ordered=ordered, folder=top)


def _drawn(path: Path) -> list[Photo]:
    """Return the lines of a .csv of `draw`, filled in or not."""
    lines = []
    for _, (name, label) in tables.read(path, "file", "label"):
        label = label.strip()
        lines.append(Photo(file=name, status=KEPT if label else TO_LABEL, label=label))
    return lines


def _pruned(path: Path) -> list[Photo]:
    """Return the lines of a .csv of `prune`."""
    return [
        Photo(
            file=line.file,
            status=line.status,
            label=line.pseudo_label if line.status == KEPT else "",
            pseudo_label="" if line.status == KEPT else line.pseudo_label,
            confidence=None if line.status == KEPT else _number(path, line, "confidence"),
            score=_number(path, line, "score"),
        )
        for line in kept.read(path)
    ]


def _number(path: Path, line: kept.Line, column: str) -> float | None:
    text = getattr(line, column).strip()
    if not text:
        return None
    if not tables.NUMBER.fullmatch(text):
        raise PrunebenchError(f"{path} has the {column} {text!r} of {line.file}, expected a number")
    return float(text)
