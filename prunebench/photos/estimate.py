"""Estimates the cost of pruning a folder of photos."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prunebench.photos.advice import advice
from prunebench.photos.cost import STORED, Cost, Sizes, part_name
from prunebench.photos.request import Request, Work, Workspace, unknown_content
from prunebench.pipeline import schedule
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings

HASHED = 2  # times that all pixels are hashed for other labels: without groups of duplicates, and with them


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The plan of a pruning and its estimated cost.

    images: images in the folder.
    classes: known labels per class.
    keep: images to keep.
    method: title of the method.
    backbones: names of the backbones that the method needs.
    labeler: that of a method that has none of its own, and its backbone. "": the method has one.
    advice: a better backbone, and what it needs, in one line. "" if one was asked for, none is needed, or all
        is stored.
    time: estimated time on the device, in words. It names the steps that it does not contain.
    disk: bytes to be written.
    stored: whether the result is in the store already.
    passed: images that nobody is asked to label, as others of their groups count. None: duplicates
        are not known yet.
    warnings: doubts about the photos and labels, a line each.
    """

    images: int
    classes: dict[str, int]
    keep: int
    method: str
    backbones: tuple[str, ...]
    labeler: str
    advice: str
    time: str
    disk: int
    stored: bool
    passed: int | None
    warnings: tuple[str, ...]

    @property
    def labeled(self) -> int:
        """How many labels are known already."""
        return sum(self.classes.values())


def preview(request: Request, place: Workspace) -> Preview:
    """Estimate the work and the cost of `make`. Reads a few images and makes a few training steps."""
    work = Work(request, place, look=False)
    searches = [] if work.search is None else [work.search]
    needed = schedule.missing([*searches, *work.ends.values()], place.store)
    work.check(needed)
    cost = _cost(work, needed)
    labels, subset = work.ends["labels"], work.ends["subset"]
    backbones = _backbones(subset)
    labeler = ""
    if labels.key not in {stage.key for stage in subset.ancestors()}:
        labeler = " on ".join([part_name(labels), *_backbones(labels)])
    sizes = Counter(work.known.values())
    return Preview(
        images=len(work.names),
        classes={name: sizes[name] for name in work.classes},
        keep=work.keep,
        method=work.cell.method.title,
        backbones=backbones,
        labeler=labeler,
        advice=advice(request.backbone) if needed and (backbones or labeler) else "",
        time=cost.in_words(1) if needed else STORED,
        disk=cost.disk,
        stored=not needed,
        passed=len(work.names) - len(work.counted) if work.grouped else None,
        warnings=work.warnings,
    )


def _cost(work: Work, needed: Mapping[str, Stage]) -> Cost:
    """Return the cost of the needed stages of a pruning, and of reading the photos if nobody did yet."""
    cost = Cost(work.dataset, work.names, len(work.classes), work.place)
    if not work.read:
        cost.add_reading(work.request.folder.expanduser())
    if unknown_content(work.roots, work.dataset.name):
        cost.add_hashing(HASHED * len(work.names))
    sizes = Sizes(images=len(work.counted), labeled=len(work.known), kept=work.keep)
    cost.add(needed.values(), lambda _stage: sizes, starts=1 if work.searched else 2)
    return cost


def _backbones(end: Stage) -> tuple[str, ...]:
    """Return the names of the backbones whose embeddings a stage needs, the proxy's among them."""
    names = (part_name(stage) for stage in closure([end]) if isinstance(stage, BackboneEmbeddings))
    return tuple(dict.fromkeys(names))


def free(place: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    path = place.resolve()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free
