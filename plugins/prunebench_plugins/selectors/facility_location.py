"""Facility location: keeps the images that represent all others best."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import choice, positive
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Selector
from prunebench_plugins.selectors.neighbor_graph import SMALLEST, compiled, neighbor_graph

METRICS = {"distance": "euclidean", "cosine": "cosine"}
UNIT = 2**30  # the similarity of an image to itself, as a whole number


def most_gained_first(
    starts: Array, near: Array, similarity: Array, self_similarity: int, keep: int
) -> Array:
    """Pick the image that adds most to the sum of similarities, `keep` times: int [keep].

    The neighbors of image u are near[starts[u] : starts[u + 1]]. Of equal gains the first image is picked.

    similarity: int64, of u to each neighbor, parallel to `near`.
    self_similarity: of an image to itself.
    """
    n = len(starts) - 1
    best = np.zeros(n, np.int64)  # the similarity of each image to the pick most similar to it
    chosen = np.empty(keep, np.int64)
    # A gain never grows, so an old gain is an upper bound. Only the top of the heap is computed again.
    unknown_gain = np.iinfo(np.int64).min
    heap = [(unknown_gain, image) for image in range(n)]
    heapq.heapify(heap)
    computed_at = np.full(n, -1)  # number of picks when the gain of each image was last computed
    count = 0
    while count < keep:
        top = heap[0][1]
        if computed_at[top] < count:
            gain = max(self_similarity - best[top], 0)
            for edge in range(starts[top], starts[top + 1]):
                gain += max(similarity[edge] - best[near[edge]], 0)
            computed_at[top] = count
            heapq.heapreplace(heap, (-gain, top))
            continue
        heapq.heappop(heap)
        chosen[count] = top
        count += 1
        best[top] = self_similarity
        for edge in range(starts[top], starts[top + 1]):
            best[near[edge]] = max(best[near[edge]], similarity[edge])
    return chosen


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(Selector):
    """Greedily maximize the sum, over all images, of the similarity to the most similar kept image.

    Only neighbors are similar: two images of which one is among the nearest of the other. All other
    similarities are 0. Ties are broken at random. If no image gains anything, the rest is drawn at random.

    backbone: backbone of the embeddings.
    neighbors: number of nearest neighbors per image, above 0.
    similarity: "distance" = the longest distance in the graph minus the Euclidean distance. "cosine" = the
        positive part of the cosine.

    Source: CRAIG (Mirzasoleiman et al. 2020, arXiv 1906.01827), on embeddings.
    """

    name: ClassVar[str] = "facility_location"
    version: ClassVar[int] = 2
    backbone: Backbones = "resnet18_imagenet"
    neighbors: int = 50
    similarity: str = "distance"

    def __post_init__(self) -> None:
        positive("facility_location.neighbors", self.neighbors)
        choice("facility_location.similarity", self.similarity, tuple(METRICS))

    def select(self, embeddings: Array, keep: int, rng: np.random.Generator, device: str) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        metric = METRICS[self.similarity]
        # Ties go to the first image, in the graph and among the picks. A random order makes it a random one.
        order = rng.permutation(len(embeddings))
        graph = neighbor_graph(embeddings[order], self.neighbors, metric=metric, device=device)
        longest = 1.0 if self.similarity == "cosine" else graph.data.max(initial=SMALLEST)
        # Sums of whole numbers are exact in any order. So equal gains tie exactly, and the seed decides.
        similarity = np.rint(np.maximum(1 - graph.data / longest, 0) * UNIT).astype(np.int64)
        return order[compiled(most_gained_first)(graph.indptr, graph.indices, similarity, UNIT, keep)]
