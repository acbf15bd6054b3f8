"""What stages on photos would take, from a few photos, a few images of noise and a few steps on noise."""

from __future__ import annotations

import hashlib
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Embeddings
from prunebench.parts.base import Part
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import construct
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.photos.request import Workspace
from prunebench.pipeline.executors.local import default_workers
from prunebench.pipeline.job import Keyed
from prunebench.pipeline.part_stage import PartStage
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.accuracy import TrainedAccuracy
from prunebench.pipeline.stages.duplicates import THUMBNAIL, Duplicates, equal, thumbnails
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.learning_curve import FOLDS, LearningCurve
from prunebench.pipeline.stages.learning_curve import sizes as curve_sizes
from prunebench.pipeline.stages.pooled_embeddings import PooledEmbeddings
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.pipeline.stages.proxy_embeddings import ProxyEmbeddings
from prunebench.pipeline.step_times import StepTimes, as_in_a_worker
from prunebench.runs.format import duration
from prunebench.system.cores import threads

STORED = "none, all is stored"
ENOUGH = 1.0  # seconds: a shorter probe is repeated with more images
PATIENCE = 3.0  # seconds: a longer probe is ended, if it says how much of it is done
READ = (8, 40, 160)  # photos to read
EMBEDDED = (1, 16, 64)  # images to embed, for each core
SEEN = 100  # images of noise to look at
COMPARED = 2000  # images to compare with one another
FEWEST = 250  # images that a part is tried on first, or this many for each class:
FEWEST_OF_CLASS = 4
START = 3.0  # seconds that a worker takes to start, where this process no longer shows it
# A backbone that needs no other input is timed on noise.
TIMED_INPUTS = {"images", "device", "progress", "checkpoint"}
# A part on embeddings that needs no other input is timed on noise.
NOISE = {
    *("embeddings", "known_labels", "labeled", "labels", "scores", "names", "rng", "keep", "count"),
    *("device", "progress", "checkpoint"),
}
# Other parts take no time, unless they train or run networks, which only a full run can show.
LONG_INPUTS = {"images", "recipe"}
FROM_FILE = "file"  # the name of parts that read a file, and look at no image


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many images a stage works on.

    images: images that it sees.
    labeled: those of them whose label is known.
    kept: those of them that are kept in the end.
    """

    images: int
    labeled: int
    kept: int


class _Whole(Exception):  # noqa: N818 - the name says what it holds
    """Ends a probe. seconds: what all of it would take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Cost:
    """Seconds and bytes of stages on the photos of a folder.

    untimed: steps whose time cannot be estimated.
    disk: bytes to be written.

    dataset: the photos.
    names: the images in the folder.
    classes: the number of classes.
    """

    def __init__(self, dataset: Dataset, names: Sequence[str], classes: int, place: Workspace) -> None:
        self.dataset, self.names, self.classes, self.place = dataset, names, classes, place
        self.images = len(names)
        self.untimed: list[str] = []
        self.disk = 0
        self._together = 0.0  # seconds of what uses all cores
        self._alone = 0.0  # seconds of what uses one
        self._embeddings: dict[str, tuple[float, int]] = {}  # key -> seconds per image, width
        self._step_times = StepTimes(place.device)
        self._parts: dict[tuple[object, ...], float] = {}
        self._rng = np.random.default_rng(0)

    def seconds(self, workers: int) -> float:
        """Return the seconds on some workers, without the `untimed` steps."""
        return self._together + self._alone / max(1, workers)

    def in_words(self, workers: int) -> str:
        """Return the time on some workers in words, with the steps that it does not contain."""
        words = duration(self.seconds(workers))
        if self.untimed:
            words += f", and an unknown time for: {', '.join(dict.fromkeys(self.untimed))}"
        return f"{words} on {self.place.device}"

    def add_reading(self, folder: Path) -> None:
        """Add the reading of all photos, and of their pixels."""
        seconds = self._seconds_per_read(folder)
        if seconds is None:
            self.untimed.append("reading the images")
        else:
            self._together += seconds * self.images
            self.add_hashing(self.images)
        self.disk += self.images * 3 * self.dataset.resolution**2

    def add_hashing(self, images: int) -> None:
        """Add the hashing of the pixels of so many images, which their key needs."""
        pixels = self._noise(SEEN).array.tobytes()
        self._together += _timed(lambda: hashlib.sha256(pixels)) / SEEN * images

    def add(self, stages: Iterable[Stage], sizes_of: Callable[[Stage], Sizes], starts: int = 1) -> None:
        """Add stages.

        starts: how often workers are started for them.
        """
        stages = list(stages)
        if not stages:
            return
        self._together += starts * _start_seconds()
        with as_in_a_worker():
            for stage in stages:
                self._add(stage, sizes_of(stage))

    def _add(self, stage: Stage, sizes: Sizes) -> None:
        if isinstance(stage, BackboneEmbeddings):
            seconds, width = self._embedding(stage)
            self._together += seconds * self.images
            self.disk += width * 4 * self.images
            if not width:
                self.untimed.append(f"embeddings of {part_name(stage)}")
        elif isinstance(stage, Duplicates):
            self._add_comparing()
        elif isinstance(stage, Proxy):
            trained = sizes.images if _predicts(stage.source("labels")) else sizes.labeled
            recipe = construct(Recipe, stage.recipe, "recipe")
            self._add_training(stage, recipe, [trained])
            self.disk += 7 * 4 * recipe.epochs * trained  # seven float32 series of dynamics
        elif isinstance(stage, TrainedAccuracy):
            recipe = construct(Recipe, stage.recipe, "recipe")
            pruned_percent = 100 * (sizes.images - sizes.kept) // sizes.images
            self._add_training(stage, recipe.at(pruned_percent), [sizes.kept])
        elif isinstance(stage, LearningCurve):
            recipe = construct(Recipe, stage.recipe, "recipe")
            self._add_training(stage, recipe, curve_sizes(sizes.labeled - sizes.labeled // FOLDS))
        elif isinstance(stage, PartStage) and not isinstance(stage, ProxyEmbeddings):
            self._add_part(stage, sizes)

    def _add_comparing(self) -> None:
        """Add the search for duplicates. Comparing all with one another grows as their number squared."""
        from prunebench.nn.neighbors import linked

        images = self._noise(SEEN)
        seconds = self._timed_twice(lambda: (equal(images), thumbnails(images, THUMBNAIL)))
        self._alone += seconds / len(images) * self.images
        width = 3 * min(THUMBNAIL, self.dataset.resolution) ** 2
        vectors = np.random.default_rng(0).normal(size=(COMPARED, width)).astype(np.float32)
        seconds = self._timed_twice(lambda: linked(vectors, 1.0, device=self.place.device))
        self._alone += seconds * (self.images / COMPARED) ** 2

    # Parts

    def _add_part(self, stage: PartStage, sizes: Sizes) -> None:
        part = load().rebuild(stage.part)
        needs = {*part.needs()}
        sources = [item.source for item in stage.named("embeddings")]
        if all(isinstance(source, ProxyEmbeddings) for source in sources):  # or there are none
            if needs & LONG_INPUTS and not stage.instant and part.name != FROM_FILE:
                self.untimed.append(f"{stage.kind} of {part_name(stage)}")
            return
        widths = [self._width(source) for source in sources]
        if not needs <= NOISE or not all(widths):
            self.untimed.append(f"{stage.kind} of {part_name(stage)}")
            return
        key = (stage.kind, str(stage.part), sizes, *widths)
        if key not in self._parts:
            self._parts[key] = self._part_seconds(part, sizes, sum(widths))
        self._alone += self._parts[key]

    def _part_seconds(self, part: Part, sizes: Sizes, width: int) -> float:
        """Return the seconds that a part takes, from calls with ever more noise.

        width: of the embeddings.
        """

        def called(images: int) -> float:
            inputs = self._inputs(images, sizes, width)
            asked = {name: inputs[name] for name in part.needs()}
            try:
                return _timed(lambda: getattr(part, part.method)(**asked))
            except _Whole as whole:
                return whole.seconds

        count = min(max(FEWEST, FEWEST_OF_CLASS * self.classes), sizes.images)
        first, before, seconds = called(count), 0.0, called(count)
        self._alone += max(0.0, first - seconds)
        while count < sizes.images and seconds < ENOUGH:
            count = min(2 * count, sizes.images)
            before, seconds = seconds, called(count)
        growth = math.log2(seconds / before) if before else 1.0
        power = min(2.0, max(1.0, growth))
        return seconds * math.pow(sizes.images / count, power)

    def _inputs(self, images: int, sizes: Sizes, width: int) -> dict[str, Any]:
        """Return what a part may ask for, by name: noise around a center for each class."""
        [rng] = self._rng.spawn(1)  # other noise for each call: parts may keep what they made of the last
        labels = np.arange(images) % self.classes
        centers = rng.normal(size=(self.classes, width))
        labeled = min(images - 1, max(2 * self.classes, images * sizes.labeled // sizes.images))
        kept = min(images, max(labeled + 1, images * sizes.kept // sizes.images))
        begin = time.perf_counter()

        def progress(done: int, total: int) -> None:
            passed = time.perf_counter() - begin
            if done and passed > PATIENCE:
                raise _Whole(passed * total / done)

        is_labeled = np.arange(images) < labeled
        return {
            "embeddings": (centers[labels] + rng.normal(size=(images, width))).astype(np.float32),
            "known_labels": np.where(is_labeled, labels, -1),
            "labeled": is_labeled if sizes.labeled else None,
            "labels": labels,
            "scores": rng.normal(size=images),
            "names": tuple(map(str, range(images))),
            "rng": rng,
            "keep": kept,
            "count": kept,
            "device": self.place.device,
            "progress": progress,
            "checkpoint": MemoryCheckpoint(),
        }

    # Networks

    def _add_training(self, stage: Stage, recipe: Recipe, counts: Sequence[int]) -> None:
        """Add a training of a recipe on each of some numbers of images."""
        shape = {"channels": 3, "resolution": self.dataset.resolution, "classes": self.classes}
        if seen := stage.named("seen"):
            recipe = recipe.on_vectors()
            shape |= {"channels": sum(self._width(item.source) for item in seen), "resolution": 1}
        if not shape["channels"]:
            self.untimed.append(f"{stage.kind} of {stage.title}")
            return
        for count in counts:
            self._alone += self._step_times.training(stage, recipe, count, **shape)

    def _width(self, embeddings: Keyed) -> int:
        """Return the width of embeddings, or 0 if only a full run can show it."""
        if isinstance(embeddings, PooledEmbeddings):
            embeddings = embeddings.named("pool")[0].source
        store = self.place.store
        if store.verify(embeddings.key):
            return int(store.read(embeddings.key, Embeddings).values.shape[1])
        return self._embedding(embeddings)[1] if isinstance(embeddings, BackboneEmbeddings) else 0

    def _embedding(self, stage: BackboneEmbeddings) -> tuple[float, int]:
        """Return the seconds and the width of one embedding, or 0 and 0 if only a full run can show it."""
        if stage.key not in self._embeddings:
            self._embeddings[stage.key] = self._time_backbone(load().rebuild(stage.part))
        return self._embeddings[stage.key]

    def _time_backbone(self, part: Part) -> tuple[float, int]:
        names = {*part.needs()}
        if part.name == FROM_FILE:
            return 0.0, self._width_in_file(part)
        if not names <= TIMED_INPUTS:
            return 0.0, 0

        def embedded(count: int) -> Array:
            inputs = {
                "images": self._noise(count),
                "device": self.place.device,
                "progress": lambda *_: None,
                "checkpoint": MemoryCheckpoint(),
            }
            found: Array = part.embed(**{name: inputs[name] for name in names})  # type: ignore[attr-defined]
            return found

        begin = time.perf_counter()
        width = embedded(1).shape[1]
        self._together += time.perf_counter() - begin  # of imports, and of loading the weights
        counts = [count * threads() for count in EMBEDDED]
        seconds = _each(lambda count: _timed(lambda: embedded(count)), counts, self.images)
        return seconds, width

    def _width_in_file(self, part: Part) -> int:
        """Return the width of the embeddings in a file, or 0 if it lacks a photo, which may be a bad one."""
        try:
            return int(part.embed(names=self.names).shape[1])  # type: ignore[attr-defined]
        except PrunebenchError:
            return 0

    # Images

    def _seconds_per_read(self, folder: Path) -> float | None:
        """Return the seconds to read one image, or None if no probed image is readable.

        The probed images are spread over the whole folder.
        """
        family = load().get("datasets", "photos")
        readable: list[str] = []

        def read(count: int) -> float:
            nonlocal readable
            index = np.linspace(0, self.images - 1, count, dtype=int)
            probed = [self.names[n] for n in index]
            begin = time.perf_counter()
            # Reports on bad files go to a folder that is removed at once.
            with tempfile.TemporaryDirectory() as root, redirect_stderr(io.StringIO()):
                readable = family.readable(folder, probed, Path(root), self.dataset.resolution, "skip")
            return time.perf_counter() - begin

        seconds = _each(read, READ, self.images)
        return seconds if readable else None

    def _timed_twice(self, call: Callable[[], object]) -> float:
        """Return the seconds of a second call. The first also imports modules, as it does in a worker."""
        first, second = _timed(call), _timed(call)
        self._alone += max(0.0, first - second)
        return second

    def _noise(self, count: int) -> Images:
        """Return images of noise, of the size of the photos."""
        side = self.dataset.resolution
        noise = np.random.default_rng(0).integers(256, size=(count, 3, side, side), dtype=np.uint8)
        return Images(noise, mean=self.dataset.mean, std=self.dataset.std)


def _timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _each(seconds: Callable[[int], float], counts: Iterable[int], most: int) -> float:
    """Return the seconds of one more image, without those of the set-up.

    seconds: returns those of so many images.
    counts: numbers of images, ascending. They are tried until one takes a while.
    most: images that there are.
    """
    few, *more = sorted({min(count, most) for count in counts})
    first = seconds(few)
    each = first / few
    for count in more:
        found = seconds(count)
        each = max(0.0, found - first) / (count - few)
        if found - first > ENOUGH:
            break
    return each


@cache
def _start_seconds() -> float:
    """Return the seconds that a worker takes to start: those in which torch is imported."""
    if "torch" in sys.modules:
        return START
    begin = time.perf_counter()
    import torch  # noqa: F401

    return time.perf_counter() - begin


def _predicts(labels: Keyed | None) -> bool:
    """Whether a labeler gives pseudo-labels to images without a label."""
    if not isinstance(labels, LabelerLabels):
        return True
    return not {*load().rebuild(labels.part).needs()} <= {"known_labels"}


def told(
    dataset: Dataset,
    names: Sequence[str],
    place: Workspace,
    needed: Collection[Stage],
    sizes_of: Callable[[Stage], Sizes],
    *,
    unread: Path | None,
    unhashed: int = 0,
    classes: int = 1,
    workers: int | None = 1,
    starts: int = 1,
) -> str:
    """Return how long stages on the photos of a folder would take, in words. STORED if nothing is left to do.

    dataset, names, classes: as for `Cost`.
    needed: the stages.
    sizes_of: the sizes of each of them.
    unread: the folder if its photos have to be read first, or None.
    unhashed: how many images of datasets have to be hashed first.
    workers: number of worker processes. None: one for each core.
    starts: how often workers are started.
    """
    if not needed and unread is None:
        return STORED
    cost = Cost(dataset, names, classes, place)
    if unread is not None:
        cost.add_reading(unread.expanduser())
    cost.add_hashing(unhashed)
    cost.add(needed, sizes_of, starts)
    count = default_workers(place.device) if workers is None else workers
    return cost.in_words(min(count, len(needed)))


def part_name(stage: Stage) -> str:
    """Return the name of the part that a stage runs."""
    return str(stage.identity.get("part", {}).get("part", stage.title))
