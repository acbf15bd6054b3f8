"""Maps of embeddings, with what methods make of the images on them. The values become JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunebench.figures import maps
from prunebench.figures.report.lineage import Picked, Subsets
from prunebench.parts.artefacts import Array, Embeddings
from prunebench.parts.dataset import Dataset
from prunebench.pipeline.store import Store
from prunebench.system.escaping import plain

PER_CLASS = 100  # images of a class on a map
GRID = 999  # the largest coordinate of an image


@dataclass
class Map:
    """A map of one kind of embeddings.

    points: x and y of each image, int in 0..999.
    together: images whose nearest neighbor has their class, in percent.
    """

    title: str
    points: list[list[int]]
    together: float


@dataclass
class Opinion:
    """What a method makes of the images on the maps.

    kept: for each ratio, a digit per image, 1 if it is kept. None if the subset is not stored.
    labels: the pseudo-label of each image, or None if there are none.
    clusters: whether the numbers of the labels carry no names.
    """

    kept: list[str | None]
    labels: list[int] | None
    clusters: bool


@dataclass
class Maps:
    """Maps of the same images. classes: names of all classes. truth: the class of each image."""

    maps: list[Map]
    classes: list[str]
    truth: list[int]
    methods: list[Opinion]


def embedded(
    sources: Mapping[str, str],
    store: Store,
    dataset: Dataset,
    truth: Array,
    subsets: Subsets,
) -> Maps | None:
    """Return up to six maps of up to a hundred images of each of ten classes, or None without embeddings.

    sources: title of each stored embedding, by key.
    truth: true labels, int [n].
    subsets: for each ratio, then method.
    """
    if not sources:
        return None
    known = np.flatnonzero(truth >= 0)
    index = known[maps.drawn(truth[known], len(dataset.classes), PER_CLASS)]
    drawn = [
        _map(title, store.read(key, Embeddings).values[index], truth[index])
        for key, title in list(sources.items())[: maps.MOST]
    ]
    opinions = [_opinion(of_method, index) for of_method in zip(*subsets, strict=True)]
    return Maps(drawn, [plain(name) for name in dataset.classes], truth[index].tolist(), opinions)


def _map(title: str, values: Array, truth: Array) -> Map:
    points = maps.project(values)
    points -= points.min(axis=0)
    scaled = np.rint(points * (GRID / max(points.max(), 1e-9)))
    return Map(plain(title), scaled.astype(int).tolist(), round(maps.together(values, truth), 1))


def _opinion(picked: Sequence[Picked | None], index: Array) -> Opinion:
    """Return what a method makes of images. picked: its subset at each ratio. index: the images, int [m]."""
    labels = next((one.labels for one in picked if one and one.labels), None)
    return Opinion(
        kept=[_digits(np.isin(index, one.index)) if one else None for one in picked],
        labels=labels.values[index].tolist() if labels else None,
        clusters=bool(labels and labels.space == "cluster"),
    )


def _digits(flags: Array) -> str:
    return "".join(np.where(flags, "1", "0"))
