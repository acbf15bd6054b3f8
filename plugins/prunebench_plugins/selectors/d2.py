"""D2: message passing over the graph of nearest neighbours weighs difficulty against diversity."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones
from prunebench_plugins.selectors.hard_cutoff import HardCutoff

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SMALLEST = np.finfo(np.float32).tiny


def neighbour_graph(embeddings: Array, k: int, *, metric: str, device: str) -> csr_array:
    """Return the distances along the symmetrised graph of the k nearest neighbours: sparse [n, n], float64.

    Two images are joined where either is among the k nearest of the other (k is at most n - 1). A distance
    of 0 is stored as the smallest normal number, since a sparse matrix forgets zeros.
    """
    from scipy.sparse import csr_array

    from prunebench.nn.neighbours import nearest

    n, k = len(embeddings), min(k, len(embeddings) - 1)
    if k < 1:
        return csr_array((n, n))
    near, distances = nearest(embeddings, k, metric=metric, device=device)
    lengths = np.maximum(distances.ravel(), SMALLEST)
    directed = csr_array((lengths, near.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    directed.sort_indices()
    return directed.maximum(directed.T.tocsr()).astype(np.float64)


@cache
def compiled(kernel: Callable[..., Array]) -> Callable[..., Array]:
    """Return `kernel`, plain loops over arrays, as machine code: made at the first call of a process."""
    from numba import njit

    return njit(kernel)  # type: ignore[no-any-return]


def densest_first(starts: Array, near: Array, fading: Array, density: Array, keep: int) -> Array:
    """Pick the densest image `keep` times; each takes its density, faded, from its neighbours: int [keep].

    Image u has the neighbours near[starts[u] : starts[u + 1]], int64, and `fading` beside them. `density`,
    float64 [n], is changed. Of images equally dense the first is picked.
    """
    # Every open image has an entry on the heap at `bound`, which its density never exceeds. What falls
    # stays where it is until it is on top; only what rises is pushed again.
    bound = density.copy()
    heap = [(-density[place], place) for place in range(len(density))]
    heapq.heapify(heap)
    picked = np.zeros(len(density), np.bool_)
    chosen = np.empty(keep, np.int64)
    count = 0
    while count < keep:
        key, top = heapq.heappop(heap)
        if picked[top] or -key != bound[top]:
            continue  # a leftover of an image that has an entry elsewhere, or needs none
        if density[top] < bound[top]:
            bound[top] = density[top]
            heapq.heappush(heap, (-density[top], top))
            continue
        picked[top] = True
        chosen[count] = top
        count += 1
        for edge in range(starts[top], starts[top + 1]):
            other = near[edge]
            density[other] -= fading[edge] * density[top]
            if density[other] > bound[other] and not picked[other]:
                bound[other] = density[other]
                heapq.heappush(heap, (-density[other], other))
    return chosen


@dataclass(frozen=True, kw_only=True)
class D2(HardCutoff):
    """Pick the densest image again and again, where a pick makes its neighbours less dense.

    density(i) = s(i) + sum over neighbours j of exp(-d(i, j)) s(j), with s the scores, shifted up to 0 or
    more, and d the Euclidean distance. A pick v takes exp(-gamma d(u, v)) density(v) from each neighbour u.
    neighbours: of each image, before the graph is made symmetric. squared: d ** 2 in both exponents, as the
    paper writes. cutoff: the share of all images first dropped at the hard end, from 0 to ratio / 100;
    unset, it follows the ratio: 0.4 from 90, else 0. Of images equally dense the hardest is picked, of
    these a random one. Maharana et al. 2024 (arXiv 2310.07931).
    """

    name: ClassVar[str] = "d2"
    # The commands that D2's README gives, for CIFAR-10 and ImageNet: both keep 10 %.
    published: ClassVar[Mapping[int, float]] = {0: 0.0, 90: 0.4}
    backbone: Backbones = "proxy"
    neighbours: int = 10
    gamma: float = 0.1
    squared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.neighbours > 0, "d2.neighbours", self.neighbours, "above 0")
        require(self.gamma >= 0, "d2.gamma", self.gamma, "0 or more")

    def select(
        self, embeddings: Array, scores: Array, keep: int, rng: np.random.Generator, device: str
    ) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        left = self.easier(scores, keep, rng)  # hardest first, ties at random
        graph = neighbour_graph(embeddings[left], self.neighbours, metric="euclidean", device=device)
        lengths: Any = graph.data**2 if self.squared else graph.data
        difficulty = scores[left] - scores.min(initial=0.0)
        graph.data = np.exp(-lengths)
        density = difficulty + graph @ difficulty
        fading = np.exp(-self.gamma * lengths)
        near = graph.indices.astype(np.int64, copy=False)  # narrower where there are no edges
        return left[compiled(densest_first)(graph.indptr, near, fading, density, keep)]
