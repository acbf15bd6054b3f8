"""Prunes a folder of your own photos: which to label first, and which others are worth a label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError, choice
from prunebench.parts.artefacts import Array, Groups, Labels, Order, Scores, Subset
from prunebench.parts.dataset import Dataset
from prunebench.parts.registry import load
from prunebench.photos.drawing import Drawn, DrawRequest, DrawWork, lacking
from prunebench.photos.folder import check_count, check_outside, listed, survey
from prunebench.photos.request import Known, Request, Work, Workspace, construct_request
from prunebench.photos.source import folder_of
from prunebench.pipeline import schedule
from prunebench.pipeline.context import load_split
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.store import Store
from prunebench.runs import places
from prunebench.runs.kept import COLUMNS, DROP, KEPT, STATUSES, TO_LABEL
from prunebench.runs.places import Place
from prunebench.runs.run import make_stages
from prunebench.system import tables
from prunebench.system.files import replace_file, write_new
from prunebench.system.sealed_json import canonical, sealed, unsealed

TEST_SIZE = 8  # pixels, the size used only to test that an image decodes


def draw(
    folder: str | Path,
    labels: int,
    seed: int = 0,
    *,
    by: str = "uniform",
    backbone: str | None = None,
    side: int | None = None,
    changes: Mapping[str, Any] | None = None,
    on_bad: str = "fail",
    strata: str | Path | None = None,
    store: Place = None,
    data: Place = None,
    device: str = "auto",
    workers: int = 1,
) -> list[str]:
    """Return the images of a folder to label first, in the order of the draw. You may stop at any point.

    No two of them have the same content. A uniform draw opens the drawn images only. Its draws are nested:
    the first images of a draw are a smaller draw of the same seed. Other draws embed all images, as `prune`
    does, and so only once. They draw at most one of duplicates, as `prune` finds them.

    folder: the folder of photos, or what `source.folder_of` unpacks.
    labels: number of images to draw.
    by: the name of a draw, as `prunebench list draws` shows it.
    backbone: name of a backbone that replaces that of the draw.
    side: pixels to which the images are shrunk. None: as `folder.common_side` says.
    changes: "PART.field" -> value.
    on_bad: "fail" refuses an image that cannot be read, "skip" draws another instead.
    strata: a .csv with the columns file and stratum, such as the place of each photo. Each stratum is drawn
        in proportion to its size, if nothing looks.
    store: folder of artefacts.
    data: folder of decoded images.
    device: "auto", or a device of PyTorch.
    workers: number of worker processes.

    Raise PrunebenchError if an image cannot be read, or if fewer images than `labels` differ.
    Raise PrunebenchError if there is no such draw, or if it has no use for an option.
    """
    request = DrawRequest(
        folder=folder_of(folder, data),
        labels=labels,
        by=by,
        seed=seed,
        backbone=backbone,
        side=side,
        on_bad=on_bad,
        strata=None if strata is None else Path(strata),
        changes=changes or {},
    )
    if request.looks:
        return drawn(DrawWork(request, Workspace.at(store, data, device)), workers).files
    return drawn_unseen(request, data).files


def drawn_unseen(request: DrawRequest, data: Place = None) -> Drawn:
    """Draw without looking. Opens the drawn images only. Raise as `draw` does."""
    labels = request.labels
    on_bad = request.on_bad
    top = request.folder.expanduser()
    root = places.folder("data", data)
    found = survey(top)
    names = listed(found, top, on_bad)
    check_count("--labels", labels, len(names))
    check_outside(top, root, "--data")
    family = load().get("datasets", "photos")
    chosen: dict[bytes, str] = {}  # by the hash of the file
    remaining = request.order(names)
    opened: list[str] = []
    readable: set[str] = set()
    while remaining and len(chosen) < labels:
        count = labels - len(chosen)
        batch, remaining = remaining[:count], remaining[count:]
        readable_now = family.readable(top, batch, root, TEST_SIZE, on_bad)
        for name in readable_now:
            chosen.setdefault(hashlib.sha256((top / name).read_bytes()).digest(), name)
        opened += batch
        readable.update(readable_now)
    if not chosen:
        raise PrunebenchError(f"none of the {len(names)} images in {top} can be read")
    copies = len(readable) - len(chosen)
    left_out = [*(name for name in opened if name not in readable), *found.nameless]
    if len(chosen) < labels:
        raise lacking(request, len(chosen), copies, left_out)
    return Drawn(files=list(chosen.values()), copies=copies, left_out=left_out)


def drawn(work: DrawWork, workers: int = 1) -> Drawn:
    """Draw by looking: make the missing stages. Raise as `draw` does."""
    store = work.place.store
    search, drawing = work.stages
    groups = schedule.mended(
        lambda: make_all(work.matrix, [search], workers, work.dataset, work.roots),
        lambda: store.read(search.key, Groups),
    ).values
    distinct = len(np.unique(groups))
    copies = len(groups) - distinct
    if distinct < work.request.labels:
        raise lacking(work.request, distinct, copies, work.left_out)
    order = schedule.mended(
        lambda: make_all(work.matrix, [drawing], workers, work.dataset, work.roots),
        lambda: store.read(drawing.key, Order),
    )
    files = [work.names[position] for position in order.index]
    return Drawn(files=files, copies=copies, left_out=work.left_out)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Pruned:
    """The result of a pruning, one entry per image in the order of `files`.

    files: paths below the folder.
    status: "keep_labeled" for a labeled image, "to_label" for one worth a label, or "drop".
    pseudo_labels: label predicted by the labeler, or "".
    confidences: float [n], NaN if there is none.
    scores: float [n], higher is harder, NaN if there is none.
    duplicate_of: image that stands for it, or "". Its label, confidence and score are those of that image.
    left_out: images that cannot be read or listed. They have no entry.
    warnings: doubts about the photos and labels, a line each, with the reading that was assumed.
    """

    files: tuple[str, ...]
    status: tuple[str, ...]
    pseudo_labels: tuple[str, ...]
    confidences: Array
    scores: Array
    duplicate_of: tuple[str, ...]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.status.count(status):,} {status}" for status in STATUSES)
        return f"<{type(self).__name__}: {counts}>"

    def chosen(self, *status: str) -> list[str]:
        """Return the files with one of these statuses. Raise PrunebenchError if there is no such status."""
        for each in status:
            choice("status", each, STATUSES)
        pairs = zip(self.files, self.status, strict=True)
        return [name for name, file_status in pairs if file_status in status]

    @property
    def text(self) -> str:
        """The content of the .csv."""
        confidences = map(_format_number, self.confidences)
        scores = map(_format_number, self.scores)
        columns = (self.files, self.status, self.pseudo_labels, confidences, scores, self.duplicate_of)
        return tables.written(COLUMNS, zip(*columns, strict=True))

    def to_csv(self, path: str | Path) -> bool:
        """Write one line for each image. Return False if the file is up to date.

        Raise PrunebenchError if the file exists with another content. It is never overwritten.
        """
        return write_new(Path(path).expanduser(), self.text.encode())


def _format_number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def prune(
    folder: str | Path,
    known: Known,
    *,
    store: Place = None,
    data: Place = None,
    device: str = "auto",
    workers: int = 1,
    **options: Any,
) -> Pruned:
    """Choose the images of a folder that are worth a label.

    Writes nothing to the folder. Reuses stored artefacts.

    folder: the folder of photos, or what `source.folder_of` unpacks.
    known: a .csv with the columns file and label, or several of them.
    store: folder of artefacts.
    data: folder of decoded images.
    device: "auto", or a device of PyTorch.
    workers: number of worker processes.
    options: the other fields of `Request`. One of `budget` and `ratio` is required.

    Raise PrunebenchError, in one line, if the request cannot be carried out.
    """
    place = Workspace.at(store, data, device)
    top = folder_of(folder, data)
    request = construct_request(folder=top, known=place.labels(known, top), **options)
    return make(request, place, workers)


def make(request: Request, place: Workspace, workers: int = 1) -> Pruned:
    """Make the missing artefacts and return the result for each image. Raise as `prune` does."""
    work = _searched(request, place, workers)
    ends = list(work.ends.values())
    pruned = schedule.mended(
        lambda: make_all(work.matrix, ends, workers, work.dataset, work.roots), lambda: _pruned(work)
    )
    remember(pruned, work)
    return pruned


def _searched(request: Request, place: Workspace, workers: int) -> Work:
    """Return the work of a request, once its duplicates are known."""
    work = Work(request, place, look=True)
    if work.search is None or work.searched:
        return work
    make_all(work.matrix, [work.search], workers, work.dataset, work.roots)
    return Work(request, place, look=True)


def make_all(
    matrix: Matrix, ends: Iterable[Stage], workers: int | None, dataset: Dataset, roots: Mapping[str, str]
) -> None:
    """Make the missing ones of these stages, with progress.

    roots: the keys of the dataset and its pool, from which the keys of the stages follow. Each stage reads
        the labels and the photos again, so a change during the run would give artefacts under wrong keys.
        They are removed.

    Raise PrunebenchError if a stage fails, or if the labels or photos changed during the run.
    """
    wanted = {stage.key: stage for stage in ends}
    failures: Mapping[str, str] = {}
    if missing := schedule.missing(wanted.values(), matrix.store):
        matrix.check_device()
        load_split.cache_clear()  # it knows photos by their path, and the files may have changed
        failures = make_stages(matrix, wanted, forecast_from_store(matrix), Engine(workers=workers))
    if _current_keys(matrix, dataset) != roots:
        for key in missing:
            matrix.store.remove(key)
        raise PrunebenchError("the labels or the photos changed meanwhile; run it again")
    for key, reason in failures.items():
        raise PrunebenchError(f"{wanted[key].kind} {wanted[key].title}: {reason}")


def _current_keys(matrix: Matrix, dataset: Dataset) -> dict[str, str]:
    """Return the keys of a dataset and its pool as they are now, or {} if these can no longer be read."""
    try:
        return roots_of([dataset], matrix.data, matrix.store)
    except PrunebenchError:
        return {}


def _pruned(work: Work) -> Pruned:
    """Read the stored artefacts as the result for each image."""
    store = work.place.store
    ends = work.ends
    images = len(work.names)
    status = np.full(images, DROP, object)
    status[work.counted[store.read(ends["subset"].key, Subset).index]] = TO_LABEL
    # Stages know the images that count. The others have the values of those that stand for them.
    place = np.searchsorted(work.counted, work.standing)
    scores = np.full(images, np.nan)
    confidences = np.full(images, np.nan)
    if "scores" in ends:
        scores = store.read(ends["scores"].key, Scores).values[place]
    labels = store.read(ends["labels"].key, Labels)[place]
    classes = work.classes if labels.space == "class" else None
    pseudo_labels = [_label_name(value, classes) for value in labels.values]
    if labels.confidences is not None:
        confidences = labels.confidences.astype(float)
    stand_ins = [work.names[index] for index in work.standing]
    for index, (name, stand_in) in enumerate(zip(work.names, stand_ins, strict=True)):
        if name in work.known:
            status[index] = KEPT
        if stand_in in work.known:
            pseudo_labels[index] = work.known[stand_in]
            confidences[index] = 1.0
    pairs = zip(work.names, stand_ins, strict=True)
    return Pruned(
        files=work.names,
        status=tuple(status),
        pseudo_labels=tuple(pseudo_labels),
        confidences=confidences,
        scores=scores,
        duplicate_of=tuple("" if name == stand_in else stand_in for name, stand_in in pairs),
        left_out=work.left_out,
        warnings=work.warnings,
    )


def _label_name(value: int, classes: Sequence[str] | None) -> str:
    """Return the name of a label, or "" for none (below 0). classes: None if labels are clusters."""
    if value < 0:
        return ""
    return f"cluster {value}" if classes is None else classes[value]


# The origin of a .csv: the options of the `prune` that wrote it


def remember(pruned: Pruned, work: Work) -> None:
    """Save where a .csv of `prune` came from, and at which cost, for `evaluate` and `look`."""
    request, store = work.request, work.place.store
    searches = [] if work.search is None else [work.search]
    made = closure([*searches, *work.ends.values()])
    origin = {
        "folder": request.spec["path"],
        "side": request.side,
        "on_bad": request.on_bad,
        "method": work.cell.method.title,
        "seconds": sum(store.manifest(stage.key)["seconds"] for stage in made if stage.key in store),
    }
    path = _origin_path(zip(pruned.files, pruned.status, strict=True), store)
    replace_file(path, sealed(origin))


def remembered(rows: Iterable[tuple[str, str]], memory: Store) -> dict[str, Any]:
    """Return what `remember` saved of the `prune` that made a .csv, or {} if unknown.

    An older `prune` saved folder, side and on_bad alone.

    rows: file and status of each image, in any order. Nothing else of the .csv is compared, because other
        programs reorder rows and reformat numbers when they save a table.
    """
    return unsealed(_origin_path(rows, memory)) or {}


def _origin_path(rows: Iterable[tuple[str, str]], memory: Store) -> Path:
    """Return the path of a note named by the hash of the rows."""
    name = hashlib.sha256(canonical(sorted(map(list, rows))).encode()).hexdigest()
    return memory.root / "photos" / f"{name}.json"
