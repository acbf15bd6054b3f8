"""What it would cost to prune a folder of photos, told from a few of them and a few steps."""

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

import numpy as np

from prunebench.parts.base import Backbone, Part
from prunebench.parts.identity import construct, map_parts
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.photos.request import Request, Work, Workplace
from prunebench.pipeline import schedule
from prunebench.pipeline.forecast import one_thread
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.pipeline.stages.scores import ScorerScores
from prunebench.suites.cells import Cell

PROBED = (8, 40)  # images; what the larger number takes longer is the time of the difference
SEEN = {"images", "device", "progress"}  # a backbone that asks for no more can be timed on noise
QUICKLY = {"dynamics", "labels", "known", "rng"}  # a scorer that asks for no more takes no time


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What pruning would do, before it does it.

    classes: how many labels of each are known. seconds: on one worker of the device, as far as it can be
    told; untold: what is not in them. disk: bytes that will be written. warnings: what may be amiss.
    """

    images: int
    classes: dict[str, int]
    keep: int
    method: str
    backbones: tuple[str, ...]
    seconds: float
    untold: tuple[str, ...]
    disk: int
    stored: bool
    warnings: tuple[str, ...]

    @property
    def paid(self) -> int:
        """How many labels are known already."""
        return sum(self.classes.values())


def preview(request: Request, place: Workplace) -> Preview:
    """Say what `make` would do and cost, without reading all images: a few are read and a few steps made."""
    work = Work(request, place, look=False)
    needed = schedule.missing(work.ends.values(), place.store)
    work.check(needed)
    cost = _Cost(work, needed)
    cell, sizes = work.cell, Counter(work.known.values())
    return Preview(
        images=len(work.names),
        classes={name: sizes[name] for name in work.classes},
        keep=work.keep,
        method=cell.method.title,
        backbones=_backbones(cell),
        seconds=cost.seconds,
        untold=tuple(dict.fromkeys(cost.untold)),
        disk=cost.disk,
        stored=not needed,
        warnings=work.warnings,
    )


def _backbones(cell: Cell) -> tuple[str, ...]:
    """Return the names of the backbones that a cell needs, the proxy's among them."""
    found = [cell.proxy.name] if cell.proxy and cell.method.labeler else []

    def visit(part: Part) -> Part:
        if isinstance(part, Backbone):
            found.append(part.name)
        return part

    for part in cell.method.parts.values():
        map_parts(part, visit)
    return tuple(dict.fromkeys(found))


class _Cost:
    """Seconds and bytes of what is missing, from a few images read and a few steps made on noise."""

    def __init__(self, work: Work, needed: Mapping[str, Stage]) -> None:
        self.work, self.images = work, len(work.names)
        self.seconds, self.untold, self.disk = 0.0, list[str](), 0
        self.embedded: dict[str, tuple[float, int]] = {}
        if not work.read:
            if (each := self._reading()) is None:
                self.untold.append("reading the images")
            else:
                self.seconds += each * self.images
            self.disk += self.images * 3 * work.request.side**2
        if not needed:
            return
        with one_thread():
            for stage in needed.values():
                self._add(stage)

    def _add(self, stage: Stage) -> None:
        if isinstance(stage, BackboneEmbeddings):
            seconds, width = self._embedding(stage)
            self.seconds += seconds * self.images
            self.disk += width * 4 * self.images
            if not width:
                self.untold.append(f"embeddings of {_named(stage)}")
        elif isinstance(stage, Proxy):
            self._add_training(stage)
        elif isinstance(stage, ScorerScores) and {*load().rebuild(stage.part).needs()} <= QUICKLY:
            pass
        elif not stage.instant:
            self.untold.append(f"{stage.kind} of {_named(stage)}")

    def _add_training(self, stage: Proxy) -> None:
        from prunebench.nn import training

        recipe = construct(Recipe, stage.recipe, "recipe")
        shape = {"channels": 3, "resolution": self.work.request.side}
        if isinstance(seen := stage.source("seen"), BackboneEmbeddings):
            recipe = recipe.on_vectors()
            width = self._embedding(seen)[1]
            shape = {"channels": width, "resolution": 1}
        if not shape["channels"]:
            self.untold.append(f"dynamics of {_named(stage)}")
            return
        classes = len(self.work.classes)
        device = self.work.place.device
        each = training.seconds_per_image(recipe, classes=classes, device=device, **shape)
        passes = recipe.iterations * recipe.batch if recipe.iterations else recipe.epochs * self.images
        self.seconds += each * passes
        self.disk += 7 * 4 * recipe.epochs * self.images

    def _embedding(self, stage: BackboneEmbeddings) -> tuple[float, int]:
        """Return the seconds and the width of one embedding; 0 and 0 where only a whole run could tell."""
        if stage.key not in self.embedded:
            self.embedded[stage.key] = self._timed(load().rebuild(stage.part))
        return self.embedded[stage.key]

    def _timed(self, part: Part) -> tuple[float, int]:
        asked = {*part.needs()}
        if not asked <= SEEN:
            return 0.0, 0
        side, dataset = self.work.request.side, self.work.dataset
        noise = np.random.default_rng(0).integers(256, size=(PROBED[1], 3, side, side), dtype=np.uint8)
        spent, width = [], 0
        for count in (PROBED[0], *PROBED):  # the first time imports what it needs
            images = Images(noise[:count], mean=dataset.mean, std=dataset.std)
            given = {"images": images, "device": self.work.place.device, "progress": lambda *_: None}
            begin = time.perf_counter()
            found = part.embed(**{name: given[name] for name in asked})  # type: ignore[attr-defined]
            spent.append(time.perf_counter() - begin)
            width = found.shape[1]
        return max(0.0, spent[-1] - spent[-2]) / (PROBED[1] - PROBED[0]), width

    def _reading(self) -> float | None:
        """Return the seconds to read one image, from a few all over the folder; None if none is readable."""
        names, request = self.work.names, self.work.request
        spent, read = [], list[str]()
        for count in PROBED:
            places = np.unique(np.linspace(0, len(names) - 1, min(count, len(names)), dtype=int))
            begin = time.perf_counter()
            # What it would tell of bad files lies in a folder that is gone at once.
            with tempfile.TemporaryDirectory() as root, redirect_stderr(io.StringIO()):
                read = self.work.dataset.readable(  # type: ignore[attr-defined]
                    request.folder.expanduser(), [names[n] for n in places], Path(root), request.side, "skip"
                )
            spent.append(time.perf_counter() - begin)
        if not read:
            return None
        return max(0.0, spent[1] - spent[0]) / (PROBED[1] - PROBED[0])


def free(place: Path) -> int:
    """Return the bytes that are free where a folder is, or will be."""
    there = next(parent for parent in (place.resolve(), *place.resolve().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _named(stage: Stage) -> str:
    return str(stage.identity.get("part", {}).get("part", stage.title))
