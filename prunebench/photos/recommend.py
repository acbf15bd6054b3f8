"""Says how many labels of a folder of photos are enough, and whether choosing them beats a random choice."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from prunebench.errors import PrunebenchError, number, positive, require, whole
from prunebench.parts.artefacts import Array, Groups, HeldOut
from prunebench.parts.registry import load
from prunebench.photos.advice import DEFAULT, PLAIN, advice, default_backbone
from prunebench.photos.contests import RANDOM, Contest, Contests, cell_of, simulated
from prunebench.photos.cost import Sizes, told
from prunebench.photos.folder import listed, named, some
from prunebench.photos.groups import groups_of, joined
from prunebench.photos.prune import make_all
from prunebench.photos.request import Known, Request, Work, Workspace, specs, unknown_content
from prunebench.photos.source import folder_of
from prunebench.pipeline import schedule
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.duplicates import Duplicates
from prunebench.pipeline.stages.learning_curve import FOLDS, LearningCurve
from prunebench.results.learning_curve import Curve, Estimate
from prunebench.runs.places import Place
from prunebench.system import tables
from prunebench.system.files import write_new

EMBEDDED = {DEFAULT: "efficientnet", PLAIN: "pixels"}  # backbone -> how methods on its embeddings end
FEWEST = 20  # labels from which a curve can be drawn: heads on 4, 8 and 16 of them
COLUMNS = ("labels", "kind", "accuracy", "low", "high")  # of the .csv of a curve
TESTED = 8  # benchmarks/recommend_coverage.py tests predictions up to so many times the labels there are


def default_methods() -> tuple[str, str]:
    """Return the methods that are compared with Random unless others are named."""
    return "probe_aum", f"facility_location_{EMBEDDED[default_backbone()]}"


@dataclass(frozen=True)
class Point:
    """The accuracy with a number of labels, in percent. measured: else it is predicted."""

    labels: int
    accuracy: Estimate
    measured: bool


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """How many labels are enough.

    folder: the folder of photos.
    images: images in the folder, one of each group.
    labeled: images that have a label, one of each group.
    passed: images that others of their group stand for.
    networks: what was trained, such as "mlp on efficientnet_lite0, 40 epochs".
    points: the learning curve, measured and predicted, by the number of labels.
    labels: the recommended number of labels in all.
    expected: the accuracy that is predicted for it, in percent.
    doubled: points that twice as many labels would bring.
    climb: points between the smallest and the largest network that was measured.
    target: the accuracy asked for, in percent, or None.
    contests: methods against Random.
    advice: a better backbone, and what it needs, in one line. "" if one was asked for, or none is needed.
    warnings: doubts about the photos, the labels and the prediction, a line each.
    """

    folder: Path
    images: int
    labeled: int
    passed: int
    networks: str
    points: tuple[Point, ...]
    labels: int
    expected: Estimate
    doubled: Estimate
    climb: Estimate
    target: float | None
    contests: tuple[Contest, ...]
    advice: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The recommendation, in one or two sentences."""
        if self.target is not None:
            return self._answer_to_target(self.target)
        if self.climb.low <= 0:
            measured = [point.labels for point in self.points if point.measured]
            return (
                f"More labels do not help measurably: from {measured[0]:,} to {measured[-1]:,} labels the "
                f"accuracy changes by {self.climb.value:+.1f} ± {self.climb.margin:.1f} points. Expect "
                f"{self.expected} % with your {self.labels:,} labels."
            )
        if self.labels == self.images:
            what = f"Label all {self.images:,} images, as labels help up to the last"
            if self.labeled == self.images:
                what = f"All {self.images:,} images have a label"
            return (
                f"{what}: expect {self.expected} %. Twice as many photos would bring {self.doubled} points."
            )
        then = f"Twice as many labels would bring {self.doubled} points."
        if self.labels == self.labeled:
            return f"Your {self.labels:,} labels are enough: expect {self.expected} %. {then}"
        return f"Label {self._which}: expect {self.expected} %. {then}"

    def _answer_to_target(self, target: float) -> str:
        if self.expected.value < target:
            return (
                f"{target:g} % is not reached within the folder: at most {self.expected} % with all "
                f"{self.images:,} images."
            )
        if self.labels <= self.labeled:
            return (
                f"{self.labels:,} of your {self.labeled:,} labels reach {target:g} %: expect "
                f"{self.expected} %."
            )
        return f"{target:g} % needs labels of {self._which}: expect {self.expected} %."

    @property
    def _which(self) -> str:
        if self.labels == self.images:
            return f"all {self.images:,} images"
        return f"about {self.labels:,} images, {self.labels - self.labeled:,} more than have a label"

    @property
    def text(self) -> str:
        """The learning curve as a .csv."""
        rows = [
            [str(point.labels), "measured" if point.measured else "predicted", *map(_number, _values(point))]
            for point in self.points
        ]
        return tables.written(COLUMNS, rows)

    def to_csv(self, path: str | Path) -> bool:
        """Write the learning curve. Return False if the file is up to date.

        Raise PrunebenchError if the file exists with another content. It is never overwritten.
        """
        return write_new(Path(path).expanduser(), self.text.encode())


def _values(point: Point) -> tuple[float, float, float]:
    return point.accuracy.value, point.accuracy.low, point.accuracy.high


def _number(value: float) -> str:
    return f"{value:.2f}"


def recommend(
    folder: str | Path,
    known: Known,
    *,
    target: float | None = None,
    gain: float = 1.0,
    seeds: int = 10,
    methods: Sequence[str] | None = None,
    recipe: str = "quick",
    backbone: str | None = None,
    side: int | None = None,
    on_bad: str = "fail",
    duplicates: str = "keep-one",
    groups: str | Path | None = None,
    store: Place = None,
    data: Place = None,
    device: str = "auto",
    workers: int | None = None,
    tell: Callable[[str, str], object] | None = None,
) -> Recommendation:
    """Say how many images of a folder to label, from the labels there are.

    One image of each group counts, the first that has a label. So no image is tested on whose copy was
    trained on.

    folder: the folder of photos, or what `source.folder_of` unpacks.
    known: a .csv with the columns file and label, or several of them.
    target: the accuracy to reach, in percent, above 1 and below 100. None: label until twice as many
        bring less than `gain`.
    gain: points of accuracy, above 0.
    seeds: number of random splits, 2 or more.
    methods: names of the methods to compare with Random, perhaps none. None: `default_methods`.
    recipe: name of the recipe.
    backbone: name of a backbone that replaces that of the recipe and those of the methods.
    side: pixels to which the images are shrunk. None: as in `prune`.
    on_bad: "fail" or "skip", for images that cannot be read.
    duplicates: "keep-one" makes a group of duplicates, "ignore" looks for none.
    groups: a .csv with the columns file and group: images that count as one.
    store: folder of artefacts.
    data: folder of decoded images.
    device: "auto", or a device of PyTorch.
    workers: number of worker processes.
    tell: called with the time that it will take, in words, and the advice of `Recommendation`, before the
        photos are read and networks trained.

    Raise PrunebenchError, in one line, if there are too few labels or the request cannot be carried out.
    """
    if target is not None:
        number("--target", target)
        require(1 < target < 100, "--target", target, "percent, above 1 and below 100")
    positive("--gain", gain)
    whole("--seeds", seeds)
    require(seeds > 1, "--seeds", seeds, "2 or more, since one split shows no spread")
    methods = default_methods() if methods is None else methods
    place = Workspace.at(store, data, device)
    top = folder_of(folder, data)
    request = Request(
        folder=top,
        known=place.labels(known, top),
        duplicates=duplicates,
        groups=None if groups is None else Path(groups),
        ratio=0,
        recipe=recipe,
        backbone=backbone,
        side=side,
        on_bad=on_bad,
    )
    if tell is not None:
        planned = _Study(request, named(known), place, seeds, methods, workers, look=False)
        tell(planned.told, planned.advice)
    study = _Study(request, named(known), place, seeds, methods, workers)
    curve, contests = schedule.mended(study.make, study.read)
    return _recommended(study, curve, contests, target, gain)


def _recommended(
    study: _Study, curve: Curve, contests: tuple[Contest, ...], target: float | None, gain: float
) -> Recommendation:
    work = study.work
    images, labeled = study.images, len(work.known)
    labels = enough(curve, images, labeled, target, gain)
    predicted = [count for count in _doublings(labeled, images) if count != labels]
    points = [Point(count, curve.measured(place), True) for place, count in enumerate(curve.sizes.tolist())]
    points += [Point(count, curve.predicted(count), False) for count in [*predicted, labels]]
    return Recommendation(
        folder=work.request.folder,
        images=images,
        labeled=labeled,
        passed=len(work.names) - images,
        networks=study.curves[0].title,
        points=tuple(sorted(points, key=lambda point: point.labels)),
        labels=labels,
        expected=curve.predicted(labels),
        doubled=curve.gained(labels, 2 * labels),
        climb=curve.climb,
        target=target,
        contests=contests,
        advice=study.advice,
        warnings=(*work.warnings, *study.warnings, *_far(labels, labeled)),
    )


def enough(curve: Curve, images: int, labeled: int, target: float | None, gain: float) -> int:
    """Return the recommended number of labels, at most `images`.

    With a target it is the smallest number whose predicted accuracy reaches it, or all images. Numbers below
    the smallest that was measured do not count. Else it is the smallest number from `labeled` on of which
    twice as many bring less than `gain` points. A curve that does not climb asks for no more labels. Numbers
    above `labeled` are rounded up to two digits.
    """
    if target is not None:
        counts = range(int(curve.sizes[0]), images)
        found = counts[0] + bisect_left(counts, True, key=lambda count: curve.accuracy(count) >= target)
    elif curve.climb.low <= 0:
        return labeled
    else:
        counts = range(labeled, images)
        found = labeled + bisect_left(
            counts, True, key=lambda count: curve.accuracy(2 * count) - curve.accuracy(count) < gain
        )
    return found if found <= labeled else min(_rounded_up(found), images)


def _rounded_up(count: int) -> int:
    """Return a number rounded up to two digits."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _doublings(labeled: int, images: int) -> list[int]:
    """Return the labels there are, twice as many, and so on, and all images."""
    counts = [labeled]
    while 2 * counts[-1] < images:
        counts.append(2 * counts[-1])
    return list(dict.fromkeys([*counts, images]))


def _far(labels: int, labeled: int) -> list[str]:
    if labels <= TESTED * labeled:
        return []
    return [
        f"{labels:,} is more than {TESTED} times the {labeled:,} labels there are, further than predictions "
        "were tested; label some, then ask again"
    ]


def _check_labels(said: str, labeled: int) -> None:
    """Raise PrunebenchError for too few labels. said: how many there are, for the message."""
    if labeled < FEWEST:
        raise PrunebenchError(
            f"{said}, but a learning curve needs {FEWEST}; label {FEWEST - labeled} more, drawn at random"
        )


def _listed_groups(work: Work, groups: Path | None) -> Array:
    """Return the group of each image, as a .csv gives it: int64 [n]."""
    folder = work.request.folder
    return groups_of(groups, work.names, listed(work.survey, folder, work.request.on_bad), folder)


class _Study:
    """The trainings that a recommendation rests on.

    work: the photos and the labels, one of each group.
    images: number of groups. An image that is in none counts as one.
    uncounted: labels of images that others stand for.
    curves: the stages of the learning curve, one for each seed.
    methods: names of the methods to compare with Random, each once.
    contests: their contests.
    matrix: all that is computed.

    said: the files of the labels, for messages.
    look: read the images and search for duplicates if that was not done yet. Else nothing is made, and the
        duplicates that nobody knows yet are no duplicates.

    Raise PrunebenchError for too few labels, before the images are read.
    """

    def __init__(
        self,
        request: Request,
        said: str,
        place: Workspace,
        seeds: int,
        methods: Sequence[str],
        workers: int | None,
        look: bool = True,
    ) -> None:
        self.place, self.methods, self.look, self.workers = place, list(dict.fromkeys(methods)), look, workers
        self._check_methods(request.backbone)
        self.search: Duplicates | None = None
        looked = self._looked(request, said)
        groups = self._groups(looked, request)
        self.images = len(np.unique(groups))
        self.work = work = self._one_of_each(looked, groups, said)
        self.uncounted = len(looked.known) - len(work.known)
        self.contests = Contests(
            work.request,
            self.methods,
            labeled=len(work.known),
            classes=len(set(work.known.values())),
            seeds=seeds,
            place=place,
            look=look,
        )
        random = load().get("methods", RANDOM)
        cells = [cell_of(work.request, work.dataset, random, seed) for seed in range(seeds)]
        plan = Plan(work.roots)
        self.curves = [LearningCurve.of(plan, cell) for cell in cells]
        contested = [cell for cells in self.contests.cells.values() for cell in cells]
        self.matrix = place.matrix([*cells, *contested], specs(work.request.spec, *self.contests.specs))

    def _check_methods(self, backbone: str | None) -> None:
        """Raise PrunebenchError for a method that is unknown or cannot be used here."""
        if RANDOM in self.methods:
            raise PrunebenchError(f"--methods {RANDOM}: the others are compared with it; leave it out")
        for name in self.methods:
            simulated(name, backbone)

    def _looked(self, request: Request, said: str) -> Work:
        """Return the photos and labels, with all duplicates and groups. said: the files of the labels.

        Raise PrunebenchError for too few labels or a wrong table of groups, before images are read.
        """
        ungrouped = replace(request, duplicates="ignore", groups=None)
        for look in (False, True)[: 1 + self.look]:
            work = Work(ungrouped, self.place, look=look)
            # Once images are read, the labels of unreadable ones do not count.
            _check_labels(f"{said} has labels of {len(work.known)} images", len(work.known))
            if not look:
                _listed_groups(work, request.groups)
        return work

    def _groups(self, work: Work, request: Request) -> Array:
        """Return the group of each image, as given and as found: int64 [n].

        To look makes the search of `prune`. Else nothing is made, nor are the labels asked for changes: their
        content may not be known yet.
        """
        given = _listed_groups(work, request.groups)
        if request.duplicates == "ignore":
            return given
        assert work.dataset.pool is not None
        cell = cell_of(work.request, work.dataset.pool.dataset, load().get("methods", RANDOM), seed=0)
        self.search = search = Duplicates.of(Plan(work.roots), cell)
        store = self.place.store
        if self.look:
            matrix = self.place.matrix([], specs(work.request.spec))
            found = schedule.mended(
                lambda: make_all(matrix, [search], self.workers, work.dataset, work.roots),
                lambda: store.read(search.key, Groups),
            )
        elif store.verify(search.key):
            found = store.read(search.key, Groups)
        else:
            return given
        return joined(found.values, given)

    def _one_of_each(self, work: Work, groups: Array, said: str) -> Work:
        """Return the photos with one label of each group, that of its first labeled image.

        Raise PrunebenchError if these are too few. said: the files of the labels.
        """
        first: dict[int, str] = {}
        for name, group in zip(work.names, groups.tolist(), strict=True):
            if name in work.known:
                first.setdefault(group, name)
        if len(first) == len(work.known):
            return work
        _check_labels(f"{said} has labels of {len(first)} images that are no copies of others", len(first))
        rows = [(name, work.known[name]) for name in first.values()]
        table = tables.filed(self.place.tables, ["file", "label"], rows)
        return Work(replace(work.request, known=table), self.place, look=self.look)

    @property
    def warnings(self) -> list[str]:
        """What the labels are too few for, a line each."""
        messages = []
        if self.uncounted:
            messages.append(f"{self.uncounted:,} label(s) of images that others stand for do not count")
        counts = Counter(self.work.known.values())
        if rare := [name for name in self.work.classes if counts[name] < FOLDS]:
            messages.append(
                f"{len(rare)} class(es) with fewer than {FOLDS} labels, so some splits hold out none: "
                f"{some(rare)}"
            )
        if self.methods and not self.contests.cells:
            messages.append(
                f"choosing was not compared with Random, which needs {self.contests.needed:,} labels"
            )
        return messages

    @property
    def advice(self) -> str:
        """A better backbone, and what it needs, in one line. "" if one was asked for, or none is needed."""
        return advice(self.work.request.backbone) if self.curves[0].training is None else ""

    @property
    def ends(self) -> list[Stage]:
        """The stages of the learning curve, and those that test the networks of contests."""
        return [*self.curves, *(end for ends in self.contests.ends.values() for end in ends)]

    @property
    def told(self) -> str:
        """How long it will take, in words. Reads a few images."""
        work, store = self.work, self.place.store
        whole = Sizes(images=len(work.names), labeled=len(work.known), kept=len(work.known))
        searches = [] if self.search is None else [self.search]
        contested = {spec["name"] for spec in self.contests.specs}
        return told(
            work.dataset,
            work.names,
            self.place,
            schedule.missing([*searches, *self.ends], store).values(),
            lambda stage: self.contests.sizes if stage.dataset.name in contested else whole,
            unread=None if work.read else work.request.folder,
            unhashed=len(work.names) * unknown_content(work.roots, work.dataset.name)
            + sum(len(work.known) * unknown_content(self.contests.roots, name) for name in contested),
            classes=len(work.classes),
            workers=self.workers,
            starts=1 if self.search is None or self.search.key in store else 2,
        )

    def make(self) -> None:
        """Make the missing stages."""
        make_all(self.matrix, self.ends, self.workers, self.work.dataset, self.work.roots)

    def read(self) -> tuple[Curve, tuple[Contest, ...]]:
        """Read the stored stages as a learning curve and contests."""
        parts = [self.place.store.read(stage.key, HeldOut) for stage in self.curves]
        images = len(self.work.names)
        wrong = np.zeros((images, len(parts[0].sizes)))
        tests = np.zeros(images)
        for part in parts:
            wrong[part.index] += part.wrong
            tests[part.index] += 1
        tested = tests > 0
        curve = Curve(sizes=parts[0].sizes, wrong=wrong[tested] / tests[tested, None])
        return curve, self.contests.read(self.place.store)
