"""Facility location: keep the images that represent all others best."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Selector
from prunebench_plugins.selectors.d2 import SMALLEST, compiled, neighbour_graph

METRICS = {"distance": "euclidean", "cosine": "cosine"}
UNIT = 2**30  # the likeness of an image to itself, in whole numbers


def most_gained_first(starts: Array, near: Array, likeness: Array, own: int, keep: int) -> Array:
    """Pick the image with the largest gain in the sum of likenesses `keep` times: int [keep].

    Image u is like near[starts[u] : starts[u + 1]] as much as `likeness`, int64, beside them says, and like
    itself as much as `own`. Equal gains go to the first image.
    """
    n = len(starts) - 1
    best = np.zeros(n, np.int64)  # the likeness of each image to the pick most like it
    chosen = np.empty(keep, np.int64)
    # A gain never grows, so an old one is an upper bound: only what is on top is ever computed anew.
    unseen = np.iinfo(np.int64).min
    heap = [(unseen, image) for image in range(n)]
    heapq.heapify(heap)
    looked = np.full(n, -1)
    count = 0
    while count < keep:
        top = heap[0][1]
        if looked[top] < count:
            gain = max(own - best[top], 0)
            for edge in range(starts[top], starts[top + 1]):
                gain += max(likeness[edge] - best[near[edge]], 0)
            looked[top] = count
            heapq.heapreplace(heap, (-gain, top))
            continue
        heapq.heappop(heap)
        chosen[count] = top
        count += 1
        best[top] = own
        for edge in range(starts[top], starts[top + 1]):
            best[near[edge]] = max(best[near[edge]], likeness[edge])
    return chosen


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(Selector):
    """Maximise the sum over all images of the likeness to the kept image most like them, greedily.

    similarity: "distance", the longest distance in the graph minus the Euclidean one, or "cosine", its
    positive part. neighbours: images are like their nearest alone, and those of which they are one of the
    nearest; to all others the likeness is 0. Ties, and what is left when no image gains anything, are drawn
    at random. CRAIG (Mirzasoleiman et al. 2020, arXiv 1906.01827), on embeddings.
    """

    name: ClassVar[str] = "facility_location"
    version: ClassVar[int] = 2
    backbone: Backbones = "resnet18_imagenet"
    neighbours: int = 50
    similarity: str = "distance"

    def __post_init__(self) -> None:
        require(self.neighbours > 0, "facility_location.neighbours", self.neighbours, "above 0")
        expected = "'distance' or 'cosine'"
        require(self.similarity in METRICS, "facility_location.similarity", self.similarity, expected)

    def select(self, embeddings: Array, keep: int, rng: np.random.Generator, device: str) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        metric = METRICS[self.similarity]
        order = rng.permutation(len(embeddings))  # the graph takes the first of equally near neighbours
        graph = neighbour_graph(embeddings[order], self.neighbours, metric=metric, device=device)
        longest = 1.0 if self.similarity == "cosine" else graph.data.max(initial=SMALLEST)
        # In whole numbers sums are exact, whatever their order: the halves of a pair tie, and the seed says.
        likeness = np.rint(np.maximum(1 - graph.data / longest, 0) * UNIT).astype(np.int64)
        return order[compiled(most_gained_first)(graph.indptr, graph.indices, likeness, UNIT, keep)]
