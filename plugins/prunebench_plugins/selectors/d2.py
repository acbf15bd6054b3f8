"""D2: weighs difficulty against diversity, by message passing over the graph of nearest neighbors."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunebench.errors import positive, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones
from prunebench_plugins.selectors.hard_cutoff import HardCutoff
from prunebench_plugins.selectors.neighbor_graph import compiled, neighbor_graph


def densest_first(starts: Array, near: Array, fading: Array, density: Array, keep: int) -> Array:
    """Pick the densest image `keep` times: int [keep].

    Each pick lowers the density of its neighbors. Of images equally dense the first is picked.
    The neighbors of image u are near[starts[u] : starts[u + 1]].

    near: int64.
    fading: float64, parallel to `near`: a neighbor loses this share of the density of the pick.
    density: float64 [n], changed in place.
    """
    # Every image not yet picked has a heap entry at `bound`, which its density never exceeds. If a density
    # falls, its entry stays until it is on top. If it rises, the image is pushed again.
    bound = density.copy()
    heap = [(-density[image], image) for image in range(len(density))]
    heapq.heapify(heap)
    picked = np.zeros(len(density), np.bool_)
    chosen = np.empty(keep, np.int64)
    count = 0
    while count < keep:
        key, top = heapq.heappop(heap)
        if picked[top] or -key != bound[top]:
            continue  # stale: the image is picked, or was pushed again
        if density[top] < bound[top]:
            bound[top] = density[top]
            heapq.heappush(heap, (-density[top], top))
            continue
        picked[top] = True
        chosen[count] = top
        count += 1
        for edge in range(starts[top], starts[top + 1]):
            neighbor = near[edge]
            density[neighbor] -= fading[edge] * density[top]
            # A negative density of the pick raises its neighbors.
            if density[neighbor] > bound[neighbor] and not picked[neighbor]:
                bound[neighbor] = density[neighbor]
                heapq.heappush(heap, (-density[neighbor], neighbor))
    return chosen


@dataclass(frozen=True, kw_only=True)
class D2(HardCutoff):
    """Repeatedly pick the densest image, and make its neighbors less dense.

    density(i) = s(i) + sum over neighbors j of exp(-d(i, j)) s(j), with s the scores, shifted up to 0 or
    more, and d the Euclidean distance. A pick v takes exp(-gamma d(u, v)) density(v) from each neighbor u.
    Of images equally dense the hardest is picked, and of equally hard ones a random one.

    cutoff: share of all images first dropped at the hard end, in 0..ratio / 100. None = by ratio: 0.4 from
        90, else 0.
    backbone: backbone of the embeddings.
    neighbors: neighbors per image, above 0, before the graph is made symmetric.
    gamma: how fast the effect of a pick falls with distance, 0 or more.
    squared: whether both exponents have d ** 2, as in the paper, instead of d.

    Source: Maharana et al. 2024 (arXiv 2310.07931).
    """

    name: ClassVar[str] = "d2"
    # The commands that D2's README gives, for CIFAR-10 and ImageNet: both keep 10 %.
    published: ClassVar[Mapping[int, float]] = {0: 0.0, 90: 0.4}
    backbone: Backbones = "proxy"
    neighbors: int = 10
    gamma: float = 0.1
    squared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("d2.neighbors", self.neighbors)
        require(self.gamma >= 0, "d2.gamma", self.gamma, "0 or more")

    def select(
        self, embeddings: Array, scores: Array, keep: int, rng: np.random.Generator, device: str
    ) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        left = self.easier(scores, keep, rng)  # hardest first, ties at random
        graph = neighbor_graph(embeddings[left], self.neighbors, metric="euclidean", device=device)
        lengths: Any = graph.data**2 if self.squared else graph.data
        difficulty = scores[left] - scores.min(initial=0.0)
        graph.data = np.exp(-lengths)
        density = difficulty + graph @ difficulty
        fading = np.exp(-self.gamma * lengths)
        near = graph.indices.astype(np.int64, copy=False)  # a graph without edges has int32
        return left[compiled(densest_first)(graph.indptr, near, fading, density, keep)]
