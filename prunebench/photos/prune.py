"""Your own photos: which to label first, and which of the others are worth a label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Labels, Scores, Subset
from prunebench.parts.dataset import Dataset
from prunebench.parts.registry import load
from prunebench.photos.folder import check_count, check_outside, ordered, scan
from prunebench.photos.request import Request, Work, Workplace, check_on_bad, construct_request
from prunebench.pipeline import schedule
from prunebench.pipeline.context import load_split
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import learnt
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.store import Store
from prunebench.runs import places
from prunebench.runs.places import Place
from prunebench.runs.run import make_stages
from prunebench.system import tables
from prunebench.system.files import replace_file, write_new
from prunebench.system.sealed_json import canonical, sealed, unsealed

KEPT, BUY, DROP = "keep_labelled", "to_label", "drop"
COLUMNS = ("file", "status", "pseudo_label", "confidence", "score")
GLANCE = 8  # pixels to which images are shrunk of which only is asked whether they can be read


def draw(
    folder: str | Path, labels: int, seed: int = 0, *, on_bad: str = "fail", data: Place = None
) -> list[str]:
    """Return which images of a folder to label first: `labels` drawn uniformly, in the order of the draw.

    A larger draw of the same seed begins with the smaller one, and so does whoever stops labelling halfway
    through. Only what is drawn is opened. What cannot be read is an error, or with on_bad="skip" passed
    over. Raise PrunebenchError for that, and for more labels than images.
    """
    top, root = Path(folder).expanduser(), places.folder("data", data)
    check_on_bad(on_bad)
    names = scan(top, on_bad)
    check_count("--labels", labels, len(names))
    check_outside(top, root, "--data")
    family = load().get("datasets", "photos")
    chosen: list[str] = []
    left = ordered(names, seed)
    while left and len(chosen) < labels:
        asked, left = left[: labels - len(chosen)], left[labels - len(chosen) :]
        chosen += family.readable(top, asked, root, GLANCE, on_bad)
    if not chosen:
        raise PrunebenchError(f"none of the {len(names)} images in {top} can be read")
    check_count("--labels", labels, len(chosen))
    return chosen


@dataclass(frozen=True, eq=False, kw_only=True)
class Pruned:
    """What became of each image, in the order of the files.

    status: "keep_labelled" for what was paid for, "to_label" for what is worth a label, "drop".
    pseudo_labels: what the labeler said, "" where nothing. confidences, scores: float [n], NaN where
    there is none; a higher score is harder. left_out: how many images cannot be read and have no line.
    warnings: what may be amiss, and what was assumed.
    """

    files: tuple[str, ...]
    status: tuple[str, ...]
    pseudo_labels: tuple[str, ...]
    confidences: Array
    scores: Array
    left_out: int
    warnings: tuple[str, ...] = ()

    def chosen(self, *status: str) -> list[str]:
        """Return the files of some status."""
        return [name for name, own in zip(self.files, self.status, strict=True) if own in status]

    @property
    def text(self) -> str:
        """The lines of the .csv."""
        numbers = ([f"{n:.6g}" if np.isfinite(n) else "" for n in a] for a in (self.confidences, self.scores))
        return tables.written(
            COLUMNS, zip(self.files, self.status, self.pseudo_labels, *numbers, strict=True)
        )

    def to_csv(self, path: str | Path) -> bool:
        """Write one line for each image; return False where the file says so already.

        Raise PrunebenchError rather than write over a file that says something else.
        """
        return write_new(Path(path).expanduser(), self.text.encode())


def prune(
    folder: str | Path,
    known: str | Path,
    *,
    store: Place = None,
    data: Place = None,
    device: str = "auto",
    workers: int = 1,
    **options: Any,
) -> Pruned:
    """Choose which images of a folder are worth a label, given the labels in `known`, a .csv.

    options: the fields of `Request`, of which `budget` or `ratio` is needed. Nothing is written to the
    folder. What is stored is not made again. Raise PrunebenchError, in one line, for what cannot be done.
    """
    request = construct_request(folder=folder, known=known, **options)
    return make(request, Workplace.at(store, data, device), workers)


def make(request: Request, place: Workplace, workers: int = 1) -> Pruned:
    """Make what is missing in the store, and say what became of each image. Raise as `prune` does."""
    work = Work(request, place, look=True)
    ends = list(work.ends.values())
    found = schedule.mended(
        lambda: make_all(work.matrix, ends, workers, work.dataset, work.root), lambda: _pruned(work)
    )
    remember(found, request, place.store)
    return found


def make_all(matrix: Matrix, ends: Iterable[Stage], workers: int | None, dataset: Dataset, root: str) -> None:
    """Make what is missing of these stages, with progress; raise PrunebenchError where one fails.

    root: the key of the dataset when the stages were named. Each reads labels and photos for itself; so
    where these are others in the end, what was made is forgotten again, and that is an error too.
    """
    wanted = {stage.key: stage for stage in ends}
    failures: Mapping[str, str] = {}
    if missing := schedule.missing(wanted.values(), matrix.store):
        matrix.check_device()
        load_split.cache_clear()  # which knows photos by their place, where there may be others since
        failures = make_stages(matrix, wanted, learnt(matrix), Engine(workers=workers))
    if _key_now(matrix, dataset) != root:
        for key in missing:
            matrix.store.remove(key)
        raise PrunebenchError("the labels or the photos changed meanwhile; run it again")
    for key, why in failures.items():
        raise PrunebenchError(f"{wanted[key].kind} {wanted[key].title}: {why}")


def _key_now(matrix: Matrix, dataset: Dataset) -> str:
    """Return the key of a dataset as it is now, "" where it cannot be read any more."""
    try:
        return dataset_key(dataset, matrix.data, matrix.store)
    except PrunebenchError:
        return ""


def _pruned(work: Work) -> Pruned:
    """Turn the stored artefacts into what became of each image."""
    memory, ends, images = work.place.store, work.ends, len(work.names)
    status = np.full(images, DROP, object)
    status[memory.read(ends["subset"].key, Subset).index] = BUY
    scores, confidences = np.full(images, np.nan), np.full(images, np.nan)
    pseudo = [""] * images
    if "scores" in ends:
        scores = memory.read(ends["scores"].key, Scores).values
    if "labels" in ends:
        labels = memory.read(ends["labels"].key, Labels)
        classes = work.classes if labels.space == "class" else None
        pseudo = [
            "" if value < 0 else classes[value] if classes else f"cluster {value}" for value in labels.values
        ]
        if labels.confidences is not None:
            confidences = labels.confidences.astype(float)
    for place, name in enumerate(work.names):
        if name in work.known:
            status[place], pseudo[place], confidences[place] = KEPT, work.known[name], 1.0
    return Pruned(
        files=work.names,
        status=tuple(status),
        pseudo_labels=tuple(pseudo),
        confidences=confidences,
        scores=scores,
        left_out=work.left_out,
        warnings=work.warnings,
    )


# Where a list of images came from


def remember(pruned: Pruned, request: Request, memory: Store) -> None:
    """Note which folder a .csv of `prune` is about, so that `evaluate` need not be told."""
    own = {"folder": request.spec["path"], "side": request.side, "on_bad": request.on_bad}
    note = _note(zip(pruned.files, pruned.status, strict=True), memory)
    replace_file(note, sealed(own))


def remembered(rows: Iterable[tuple[str, str]], memory: Store) -> dict[str, Any]:
    """Return folder, side and on_bad of the `prune` that made a .csv; {} where nobody knows.

    rows: file and status of each image. Their order, the other columns and the spelling of numbers are not
    looked at, since other programs change them when they save a table.
    """
    return unsealed(_note(rows, memory)) or {}


def _note(rows: Iterable[tuple[str, str]], memory: Store) -> Path:
    name = hashlib.sha256(canonical(sorted(map(list, rows))).encode()).hexdigest()
    return memory.root / "photos" / f"{name}.json"
