"""The request to `draw`: how the images to label first are drawn, and the stages of a draw that looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from prunebench.errors import PrunebenchError, require, whole
from prunebench.parts import seeds
from prunebench.parts.base import Draw, Part, reader, reads_proxy
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import change, map_parts
from prunebench.parts.registry import load
from prunebench.photos.advice import DEFAULT, advice, default_backbone
from prunebench.photos.cost import Sizes, told
from prunebench.photos.folder import check_count, common_side, listed, some, survey
from prunebench.photos.groups import in_proportion, read_strata
from prunebench.photos.request import (
    POOL,
    Workspace,
    check_embedded,
    check_on_bad,
    on_backbone,
    resolver_of,
    unknown_content,
)
from prunebench.pipeline import schedule
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.duplicates import Duplicates
from prunebench.pipeline.stages.order import DrawnOrder
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import held

BLIND = {"names", "count", "labeled", "rng"}  # the inputs of a draw that looks at no image


@dataclass(frozen=True, kw_only=True)
class DrawRequest:
    """A request to `draw`.

    folder: the folder of photos.
    labels: how many images to draw.
    by: the name of the draw.
    seed: 0 or more.
    backbone: name of a backbone that replaces that of the draw.
    side: pixels to which the images are shrunk, above 0. None: as `folder.common_side` says.
    on_bad: "fail" or "skip", for images that cannot be read.
    strata: a .csv with the columns file and stratum. Each stratum is drawn in proportion to its size.
    changes: "PART.field" -> value.

    Raise PrunebenchError for values outside these ranges, and for those of which the draw has no use.
    """

    folder: Path
    labels: int
    by: str = "uniform"
    seed: int = 0
    backbone: str | None = None
    side: int | None = None
    on_bad: str = "fail"
    strata: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("labels", "seed", "side"):
            if getattr(self, name) is not None:
                whole(f"--{name}", getattr(self, name))
        require(self.seed >= 0, "--seed", self.seed, "0 or more")
        require(self.side is None or self.side > 0, "--side", self.side, "above 0 pixels")
        check_on_bad(self.on_bad)
        for option, value in (("--backbone", self.backbone), ("--side", self.side)):
            if value is not None and not self.looks:
                raise PrunebenchError(
                    f"{option} {value}: {self.by} looks at no image; choose another --by. "
                    "See: prunebench list draws"
                )
        if not self.looks:
            check_owners(self.changes, self.draw)
        elif self.strata is not None:
            raise PrunebenchError(
                f"--strata {self.strata}: {self.by} spreads its choice by looking; use it with --by uniform"
            )

    @cached_property
    def draw(self) -> Draw:
        """The draw, with the user's changes of its fields. Raise PrunebenchError if there is none."""
        paths = {path: path.rpartition(".") for path in self.changes}
        own = {name: self.changes[path] for path, (owner, _, name) in paths.items() if owner == self.by}
        return cast(Draw, change(load().part("draw", self.by), own, self.by))

    @property
    def looks(self) -> bool:
        """Whether the draw looks at images."""
        return not set(self.draw.needs()) <= BLIND

    def order(self, names: Sequence[str]) -> list[str]:
        """Return all names in the order of a draw that does not look."""
        rng = seeds.stream("photos", self.seed)
        inputs = {"names": tuple(names), "count": len(names), "labeled": None, "rng": rng}
        index = self.draw.draw(**{name: inputs[name] for name in self.draw.needs()})  # type: ignore[attr-defined]
        if not np.array_equal(np.sort(index), np.arange(len(names))):
            raise PrunebenchError(
                f"{load().described('draw', self.by)} must return {len(names)} distinct indices. "
                f"This is a bug in {type(self.draw).__module__}."
            )
        drawn = [names[position] for position in index]
        if self.strata is None:
            return drawn
        strata = read_strata(self.strata, drawn, self.folder)
        order = in_proportion(strata, seeds.stream("strata", self.seed))
        return [drawn[position] for position in order]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The result of a draw.

    files: the images, in the order of the draw.
    copies: how many images were passed over, since another of their group counts.
    left_out: the images that cannot be read or listed. A draw that does not look opens as many as it needs.
    """

    files: list[str]
    copies: int
    left_out: list[str]


def lacking(request: DrawRequest, found: int, copies: int, left_out: Sequence[str]) -> PrunebenchError:
    """Return the error for a draw of too few images.

    found: images that can be read and differ.
    copies, left_out: as in `Drawn`.
    """
    reasons = [f"{copies:,} cop{'y' if copies == 1 else 'ies'}"] if copies else []
    reasons += [f"{len(left_out):,} that cannot be read: {some(left_out)}"] if left_out else []
    return PrunebenchError(
        f"--labels is {request.labels}, but only {found} images in {request.folder} can be read and differ; "
        f"the others are {' and '.join(reasons)}; lower it{', or draw with --by uniform' * request.looks}"
    )


class DrawWork:
    """A request to draw by looking, with all that follows from it.

    part: the draw, with its backbones and the user's changes.
    dataset: the images as a dataset without labels, the same as that of `prune`.
    survey: the files of the folder.
    listed: the images of the folder.
    images: how many these are.
    """

    def __init__(self, request: DrawRequest, place: Workspace) -> None:
        self.request = request
        self.place = place
        place.check_outside(request.folder)
        self.survey = survey(request.folder)
        self.listed = names = listed(self.survey, request.folder, request.on_bad)
        self.images = len(names)
        check_count("--labels", request.labels, self.images)
        self.spec = {
            "family": POOL,
            "name": POOL,
            "path": str(request.folder.expanduser().resolve()),
            "side": request.side or common_side(request.folder, names),
            "on_bad": request.on_bad,
        }
        self.dataset: Dataset = load().dataset(self.spec)
        self.recipe_name, self.recipe, self.part = _resolved(request, self.dataset)
        _check(self.part)
        if request.backbone is not None:
            check_embedded(request.backbone, names, request.on_bad, request.changes)

    @property
    def advice(self) -> str:
        """A better backbone, and what it needs, in one line. "" if one was asked for, or none is needed."""
        return advice(self.request.backbone) if "embeddings" in self.part.needs() else ""

    @property
    def plan(self) -> str:
        """What will be done, in one line."""
        line = (
            f"drawing {self.request.labels:,} of {self.images:,} images in {self.request.folder} by "
            f"{self.part.name}, at {self.dataset.resolution} pixels on {self.place.device}"
        )
        if "embeddings" not in self.part.needs():
            return line
        backbones = reader(self.part).backbone  # type: ignore[attr-defined]
        each = backbones if isinstance(backbones, tuple) else (backbones,)
        return f"{line}; embeddings of {' + '.join(backbone.name for backbone in each)} are made once"

    @cached_property
    def roots(self) -> dict[str, str]:
        """The key of the dataset, by its name. Reads the images."""
        return roots_of([self.dataset], self.place.data, self.place.store)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The readable images. Reads them."""
        return self.dataset.names(self.place.data)

    @property
    def left_out(self) -> list[str]:
        """The images that cannot be read or listed. Reads them."""
        readable = set(self.names)
        return [*(name for name in self.listed if name not in readable), *self.survey.nameless]

    @cached_property
    def matrix(self) -> Matrix:
        """Where the stages are made."""
        return self.place.matrix([], {POOL: self.spec})

    @cached_property
    def stages(self) -> tuple[Duplicates, DrawnOrder]:
        """The search for duplicates, that of `prune`, and the draw. Reads the images.

        Raise PrunebenchError if fewer images are readable than are to be drawn.
        """
        if len(self.names) < self.request.labels:
            raise lacking(self.request, len(self.names), 0, self.left_out)
        return self._planned(self.roots)

    @property
    def told(self) -> str:
        """How long it will take, in words. Reads a few images."""
        place, request = self.place, self.request
        roots = roots_of([self.dataset], place.data, place.store, look=False)
        search, drawn = self._planned(roots)
        sizes = Sizes(images=self.images, labeled=0, kept=request.labels)
        return told(
            self.dataset,
            self.listed,
            place,
            schedule.missing([search, drawn], place.store).values(),
            lambda _stage: sizes,
            unread=request.folder if unknown_content(roots, POOL) else None,
            starts=1 if search.key in place.store else 2,
        )

    def _planned(self, roots: Mapping[str, str]) -> tuple[Duplicates, DrawnOrder]:
        plan = Plan(roots)
        search = Duplicates.of(plan, self._cell)
        return search, DrawnOrder.of(plan, self._cell, self.part, self.request.labels, search)

    @cached_property
    def _cell(self) -> Cell:
        return Cell(
            suite="photos",
            dataset=self.dataset,
            method=load().get("methods", "random"),  # no stage of a method is planned
            ratio=0,
            seed=self.request.seed,
            recipe_name=self.recipe_name,
            recipe=self.recipe,
            repeats="pipeline",
            tuning="default",
        )


def _resolved(request: DrawRequest, dataset: Dataset) -> tuple[str, Any, Draw]:
    """Return the name of the recipe, the recipe, and the draw with its backbones and the user's changes.

    Raise PrunebenchError for a change that concerns no part of the draw.
    """
    resolver = resolver_of("quick", request.changes)
    name, recipe, defaults = resolver.recipe(dataset)
    part: Part = request.draw
    if request.backbone is not None:
        part = on_backbone(part, request.backbone)
    elif getattr(part, "backbone", None) == DEFAULT:  # unless --set says otherwise
        part = on_backbone(part, default_backbone())
    part = resolver.part(part, defaults)
    check_owners(request.changes, part)
    return name, recipe, cast(Draw, part)


def check_owners(changes: Mapping[str, Any], part: Part) -> None:
    """Raise PrunebenchError for a change of a part that is neither this one nor held by it."""
    owners = {inner.name for inner in held(part)}
    for path in changes:
        if path.rpartition(".")[0] not in owners:
            raise PrunebenchError(f"--set {path}: {part.name} has no such part")


def _check(part: Draw) -> None:
    """Raise PrunebenchError if a part lacks a file, or reads a network that a draw does not train."""
    if reads_proxy(part):
        raise PrunebenchError(
            "--backbone proxy: no network is trained before the first labels; choose another. "
            "See: prunebench list backbones"
        )

    def visit(inner: Part) -> Part:
        inner.ready()
        return inner

    try:
        map_parts(part, visit)
    except PrunebenchError as error:
        raise PrunebenchError(f"{error}; or choose another with --backbone, such as pixels") from None
