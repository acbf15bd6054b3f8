"""Estimates the cost of pruning a folder of photos, from a few photos and a few training steps."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.parts.base import Part
from prunebench.parts.identity import construct
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.photos.advice import advice
from prunebench.photos.request import Request, Work, Workspace
from prunebench.pipeline import schedule
from prunebench.pipeline.forecast import one_thread
from prunebench.pipeline.job import Keyed
from prunebench.pipeline.stage import Stage, closure
from prunebench.pipeline.stages.duplicates import THUMBNAIL, Duplicates
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.pooled_embeddings import PooledEmbeddings
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.pipeline.stages.scores import ScorerScores

PROBE_SIZES = (8, 40)  # images; time per image = (t(40) - t(8)) / 32, which cancels the set-up
COMPARED = 1000  # images that are compared with one another, to time it
# A backbone that needs no other input is timed on noise.
TIMED_INPUTS = {"images", "device", "progress", "checkpoint"}
TIMED_LABELERS = {"probe"}  # their time grows in proportion to the images
LABELED_NOISE = 2000  # embeddings of noise that are labeled to time a labeler, at most
QUICK_INPUTS = {
    "dynamics",
    "labels",
    "known_labels",
    "rng",
}  # a scorer that needs no other input takes no time
FROM_FILE = "file"  # the scorer that reads a file takes none either


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The plan of a pruning and its estimated cost.

    images: images in the folder.
    classes: known labels per class.
    keep: images to keep.
    method: title of the method.
    backbones: names of the backbones that the method needs.
    guesser: the labeler of a method that has none of its own, and its backbone. "": the method has one.
    advice: a better backbone, and what it needs, in one line. "" if one was asked for, or none is needed.
    seconds: estimated time on one worker of the device, without the `untimed` steps.
    untimed: steps whose time cannot be estimated.
    disk: bytes to be written.
    stored: whether the result is in the store already.
    passed: images that are never bought, as others of their groups count in their place. None: duplicates
        are not known yet.
    warnings: doubts about the photos and labels, a line each.
    """

    images: int
    classes: dict[str, int]
    keep: int
    method: str
    backbones: tuple[str, ...]
    guesser: str
    advice: str
    seconds: float
    untimed: tuple[str, ...]
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
    cost = _Cost(work, needed)
    labels, subset = work.ends["labels"], work.ends["subset"]
    backbones = _backbones(subset)
    guesser = ""
    if labels.key not in {stage.key for stage in subset.ancestors()}:
        guesser = " on ".join([_part_name(labels), *_backbones(labels)])
    sizes = Counter(work.known.values())
    return Preview(
        images=len(work.names),
        classes={name: sizes[name] for name in work.classes},
        keep=work.keep,
        method=work.cell.method.title,
        backbones=backbones,
        guesser=guesser,
        advice=advice(request.backbone) if backbones or guesser else "",
        seconds=cost.seconds,
        untimed=tuple(dict.fromkeys(cost.untimed)),
        disk=cost.disk,
        stored=not needed,
        passed=len(work.names) - len(work.counted) if work.grouped else None,
        warnings=work.warnings,
    )


def _backbones(end: Stage) -> tuple[str, ...]:
    """Return the names of the backbones whose embeddings a stage needs, the proxy's among them."""
    names = (_part_name(stage) for stage in closure([end]) if isinstance(stage, BackboneEmbeddings))
    return tuple(dict.fromkeys(names))


class _Cost:
    """Seconds and bytes of the missing stages, estimated from a few images and a few steps on noise.

    seconds: on one worker, without the `untimed` steps.
    untimed: steps whose time cannot be estimated.
    disk: bytes.
    """

    def __init__(self, work: Work, needed: Mapping[str, Stage]) -> None:
        self.work = work
        self.images = len(work.names)
        self.seconds = 0.0
        self.untimed: list[str] = []
        self.disk = 0
        self.embeddings: dict[str, tuple[float, int]] = {}  # key -> seconds per image, width
        if not work.read:
            self._add_reading()
        if not needed:
            return
        with one_thread():
            for stage in needed.values():
                self._add(stage)

    def _add_reading(self) -> None:
        seconds = self._seconds_per_read()
        if seconds is None:
            self.untimed.append("reading the images")
        else:
            self.seconds += seconds * self.images
        self.disk += self.images * 3 * self.work.side**2

    def _add(self, stage: Stage) -> None:
        if isinstance(stage, BackboneEmbeddings):
            seconds, width = self._embedding(stage)
            self.seconds += seconds * self.images
            self.disk += width * 4 * self.images
            if not width:
                self.untimed.append(f"embeddings of {_part_name(stage)}")
        elif isinstance(stage, Duplicates):
            self._add_comparing()
        elif isinstance(stage, Proxy):
            self._add_training(stage)
        elif isinstance(stage, LabelerLabels) and _part_name(stage) in TIMED_LABELERS:
            self._add_labeling(stage)
        elif isinstance(stage, ScorerScores) and _is_quick(stage):
            pass
        elif not stage.instant:
            self.untimed.append(f"{stage.kind} of {_part_name(stage)}")

    def _add_comparing(self) -> None:
        """Add the time to compare all images with one another, which grows as their number squared."""
        from prunebench.nn.neighbors import linked

        width = 3 * min(THUMBNAIL, self.work.side) ** 2
        noise = np.random.default_rng(0).normal(size=(COMPARED, width))
        begin = time.perf_counter()
        linked(noise, 1.0, device=self.work.place.device)
        self.seconds += (time.perf_counter() - begin) * (self.images / COMPARED) ** 2

    def _add_labeling(self, stage: LabelerLabels) -> None:
        width = self._width(stage.source("embeddings"))
        if not width:
            self.untimed.append(f"labels of {_part_name(stage)}")
            return
        images, classes = len(self.work.counted), len(self.work.classes)
        timed = min(images, LABELED_NOISE)
        labeled = max(2 * classes, timed * len(self.work.known) // images)
        rng = np.random.default_rng(0)
        known_labels = np.full(max(timed, labeled), -1)
        known_labels[:labeled] = np.arange(labeled) % classes
        noise = rng.normal(size=(len(known_labels), width)).astype(np.float32)
        part: Any = load().rebuild(stage.part)
        part.label(noise[:labeled], known_labels[:labeled])  # the first call also imports modules
        begin = time.perf_counter()
        part.label(noise, known_labels)
        self.seconds += (time.perf_counter() - begin) * images / len(known_labels)

    def _add_training(self, stage: Proxy) -> None:
        from prunebench.nn import training

        recipe = construct(Recipe, stage.recipe, "recipe")
        shape: dict[str, Any] = {"channels": 3, "resolution": self.work.side}
        seen = stage.source("seen")
        if isinstance(seen, BackboneEmbeddings | PooledEmbeddings):
            recipe = recipe.on_vectors()
            shape = {"channels": self._width(seen), "resolution": 1}
        if not shape["channels"]:
            self.untimed.append(f"dynamics of {_part_name(stage)}")
            return
        classes, images = len(self.work.classes), len(self.work.counted)
        device = self.work.place.device
        seconds = training.seconds_per_image(recipe, classes=classes, device=device, **shape)
        passes = recipe.iterations * recipe.batch if recipe.iterations else recipe.epochs * images
        self.seconds += seconds * passes
        self.disk += 7 * 4 * recipe.epochs * images  # seven float32 series of dynamics

    def _width(self, embeddings: Keyed | None) -> int:
        """Return the width of embeddings, or 0 if only a full run can show it."""
        if isinstance(embeddings, PooledEmbeddings):
            embeddings = embeddings.source("pool")
        return self._embedding(embeddings)[1] if isinstance(embeddings, BackboneEmbeddings) else 0

    def _embedding(self, stage: BackboneEmbeddings) -> tuple[float, int]:
        """Return the seconds and the width of one embedding, or 0 and 0 if only a full run can show it."""
        if stage.key not in self.embeddings:
            self.embeddings[stage.key] = self._time_backbone(load().rebuild(stage.part))
        return self.embeddings[stage.key]

    def _time_backbone(self, part: Part) -> tuple[float, int]:
        names = {*part.needs()}
        known = self.work.read or self.work.request.on_bad == "fail"
        if names == {"names"} and known:  # it reads a file, and looks at no image
            return 0.0, part.embed(names=self.work.names).shape[1]  # type: ignore[attr-defined]
        if not names <= TIMED_INPUTS:
            return 0.0, 0
        few, many = PROBE_SIZES
        side = self.work.side
        dataset = self.work.dataset
        noise = np.random.default_rng(0).integers(256, size=(many, 3, side, side), dtype=np.uint8)
        seconds = []
        width = 0
        for count in (few, few, many):  # the first pass also imports modules
            images = Images(noise[:count], mean=dataset.mean, std=dataset.std)
            inputs = {
                "images": images,
                "device": self.work.place.device,
                "progress": lambda *_: None,
                "checkpoint": MemoryCheckpoint(),
            }
            begin = time.perf_counter()
            embeddings = part.embed(**{name: inputs[name] for name in names})  # type: ignore[attr-defined]
            seconds.append(time.perf_counter() - begin)
            width = embeddings.shape[1]
        return max(0.0, seconds[-1] - seconds[-2]) / (many - few), width

    def _seconds_per_read(self) -> float | None:
        """Return the seconds to read one image, or None if no probed image is readable.

        The probed images are spread over the whole folder.
        """
        names = self.work.names
        request = self.work.request
        seconds = []
        readable: list[str] = []
        for count in PROBE_SIZES:
            index = np.unique(np.linspace(0, len(names) - 1, min(count, len(names)), dtype=int))
            probed = [names[n] for n in index]
            begin = time.perf_counter()
            # Reports on bad files go to a folder that is removed at once.
            with tempfile.TemporaryDirectory() as root, redirect_stderr(io.StringIO()):
                readable = self.work.dataset.readable(  # type: ignore[attr-defined]
                    request.folder.expanduser(), probed, Path(root), self.work.side, "skip"
                )
            seconds.append(time.perf_counter() - begin)
        if not readable:
            return None
        few, many = PROBE_SIZES
        return max(0.0, seconds[1] - seconds[0]) / (many - few)


def _is_quick(stage: ScorerScores) -> bool:
    return _part_name(stage) == FROM_FILE or {*load().rebuild(stage.part).needs()} <= QUICK_INPUTS


def free(place: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    path = place.resolve()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _part_name(stage: Stage) -> str:
    return str(stage.identity.get("part", {}).get("part", stage.title))
