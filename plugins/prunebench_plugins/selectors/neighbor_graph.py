"""The graph of nearest neighbors, and machine code for greedy picks on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench_plugins.kept import latest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SMALLEST = np.finfo(np.float32).tiny


def neighbor_graph(embeddings: Array, k: int, *, metric: str, device: str) -> csr_array:
    """Return the distances along the symmetric graph of the k nearest neighbors: sparse float64 [n, n].

    Two images are joined if either is among the k nearest of the other. A distance of 0 is stored as the
    smallest normal number, since a sparse matrix drops zeros.

    The latest graph stays in memory: 50,000 images take a CPU more than a minute.

    embeddings: float [n, d].
    k: neighbors per image, at most n - 1 of which exist.
    metric: "euclidean" or "cosine".
    """
    return latest(_computed, embeddings, k, metric, device).copy()


def _computed(embeddings: Array, k: int, metric: str, device: str) -> csr_array:
    from scipy.sparse import csr_array

    from prunebench.nn.neighbors import nearest

    n = len(embeddings)
    k = min(k, n - 1)
    if k < 1:
        return csr_array((n, n))
    near, distances = nearest(embeddings, k, metric=metric, device=device)
    lengths = np.maximum(distances.ravel(), SMALLEST)
    directed = csr_array((lengths, near.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    directed.sort_indices()
    return directed.maximum(directed.T.tocsr()).astype(np.float64)


@cache
def compiled(kernel: Callable[..., Array]) -> Callable[..., Array]:
    """Return `kernel`, plain loops over arrays, as machine code. The first call in a process compiles it."""
    from numba import njit

    return njit(kernel)  # type: ignore[no-any-return]
