"""Moderate: an image scores high if it is neither close to the center of its class nor far from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, choice
from prunebench.parts.artefacts import Array
from prunebench.parts.base import PROXY, Backbones, Scorer


@dataclass(frozen=True, kw_only=True)
class Moderate(Scorer):
    """Minus the number of ranks between an image and the middle rank.

    Images are ranked by the distance to the center of their class. So the middle ranks score highest, at
    every ratio.

    backbone: backbone of the embeddings.
    center: "median" (the released code) or "mean" (the paper) of each dimension over the images of a class.

    Source: Xia et al. 2023, "Moderate Coreset".
    """

    name: ClassVar[str] = "moderate"
    version: ClassVar[int] = 2
    backbone: Backbones = PROXY
    center: str = "median"

    def __post_init__(self) -> None:
        choice("moderate.center", self.center, ("median", "mean"))

    def score(self, embeddings: Array, labels: Array, rng: np.random.Generator) -> Array:
        """Return float64 [n], in -n/2..0, all different among labeled images.

        Equal distances are ranked at random. Images without a label get the mean score.
        Raise PrunebenchError if no image has a label.
        """
        labeled = np.flatnonzero(labels >= 0)
        if not len(labeled):
            raise PrunebenchError("moderate needs labels, but no image has one; choose another labeler")
        distances = center_distances(embeddings[labeled], labels[labeled], self.center)
        order = np.lexsort((rng.permutation(len(labeled)), distances))
        ranks = np.empty(len(labeled))
        ranks[order] = np.arange(len(labeled))
        # 0.25 breaks the tie of two ranks equally far from the middle: the image nearer to its center wins.
        labeled_scores = -np.abs(ranks - (len(labeled) - 1) / 2 + 0.25)
        scores = np.full(len(labels), labeled_scores.mean())
        scores[labeled] = labeled_scores
        return scores


def center_distances(embeddings: Array, labels: Array, center: str) -> Array:
    """Return the Euclidean distance of each image to the center of its class: float64 [n].

    embeddings: float [n, d].
    labels: int [n], 0 or more.
    center: "median" or "mean" of each dimension.
    """
    middle = np.median if center == "median" else np.mean
    order = np.argsort(labels, kind="stable")
    distances = np.empty(len(labels))
    ends = np.cumsum(np.bincount(labels))
    for members in np.split(order, ends[:-1]):
        offsets = embeddings[members].astype(np.float64)
        if len(offsets):  # some classes have no image
            offsets -= middle(offsets, axis=0)
            distances[members] = np.sqrt(np.einsum("ij,ij->i", offsets, offsets))
    return distances
