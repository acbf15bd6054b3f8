"""Moderate: images neither close to the centre of their class nor far from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import PROXY, Backbones, Scorer


@dataclass(frozen=True, kw_only=True)
class Moderate(Scorer):
    """Minus how many ranks an image is from the middle, ranked by the distance to its class centre.

    So the highest scores are the middle ranks, at every ratio. centre: "median" of each dimension over the
    images of the label (the released code), or "mean" (the paper). Xia et al. 2023, "Moderate Coreset".
    """

    name: ClassVar[str] = "moderate"
    version: ClassVar[int] = 2
    backbone: Backbones = PROXY
    centre: str = "median"

    def __post_init__(self) -> None:
        allowed = self.centre in ("median", "mean")
        require(allowed, "moderate.centre", self.centre, "'median' or 'mean'")

    def score(self, embeddings: Array, labels: Array, rng: np.random.Generator) -> Array:
        """Return float64 [n], -n/2..0, all different but for images without a label, which get the mean.

        Equal distances are ranked at random. Raise PrunebenchError where no image has a label.
        """
        labelled = np.flatnonzero(labels >= 0)
        if not len(labelled):
            raise PrunebenchError("moderate needs labels, but no image has one; choose another labeler")
        distances = centre_distances(embeddings[labelled], labels[labelled], self.centre)
        ranks = np.empty(len(labelled))
        ranks[np.lexsort((rng.permutation(len(labelled)), distances))] = np.arange(len(labelled))
        # Of two images equally far from the middle, the one nearer to its centre scores more.
        own = -np.abs(ranks - (len(labelled) - 1) / 2 + 0.25)
        scores = np.full(len(labels), own.mean())
        scores[labelled] = own
        return scores


def centre_distances(embeddings: Array, labels: Array, centre: str) -> Array:
    """Return the Euclidean distance of each image to the centre of its label: float64 [n].

    embeddings: float [n, d]. labels: int [n], 0 or more. centre: "median" or "mean" of each dimension.
    """
    middle = np.median if centre == "median" else np.mean
    order = np.argsort(labels, kind="stable")
    distances = np.empty(len(labels))
    for members in np.split(order, np.cumsum(np.bincount(labels))[:-1]):
        own = embeddings[members].astype(np.float64)
        if len(own):
            own -= middle(own, axis=0)
            distances[members] = np.sqrt(np.einsum("ij,ij->i", own, own))
    return distances
