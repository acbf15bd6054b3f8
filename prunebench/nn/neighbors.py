"""Nearest neighbors, groups of near vectors and k-means: exact, in chunks of bounded memory, on CPU or GPU.

On a CPU the same input gives the same output, bit for bit. No n x n matrix is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from prunebench.errors import PrunebenchError
from prunebench.nn.products import linear, relative_squares, squared_distances
from prunebench.parts.artefacts import Array
from prunebench.parts.seeds import torch_generator

Tensor = torch.Tensor
CHUNK_BYTES = 256 * 2**20  # of each temporary tensor
CACHED_BYTES = 16 * 2**20  # of one that a CPU reads again at once, from its cache


def nearest(vectors: Array, k: int, *, metric: str = "cosine", device: str = "cpu") -> tuple[Array, Array]:
    """Return the k nearest other vectors of each vector, the nearest first.

    The result is the indices, int64 [n, k], and the distances, float32 [n, k]. A vector is never its own
    neighbor, but an equal vector may be, at distance 0.

    vectors: float [n, d].
    k: number of neighbors.
    metric: "euclidean", or "cosine" for the distance 1 - cosine, in 0..2. A zero vector has cosine distance 1
        from all vectors.
    device: of PyTorch.

    Raise PrunebenchError for another metric.
    Raise PrunebenchError unless 1 <= k <= n - 1.
    """
    if metric not in ("cosine", "euclidean"):
        raise PrunebenchError(f"no metric named {metric!r}. Known: cosine, euclidean.")
    n = len(vectors)
    if not 1 <= k <= n - 1:
        raise PrunebenchError(f"asked for {k} neighbors of each of {n} vectors; choose 1..{n - 1}")
    points = _to_tensor(vectors, device)
    if metric == "cosine":
        points = functional.normalize(points)
        squared_norms = points.new_zeros(n)
    else:
        points = points - points.mean(0)  # small norms lose fewer digits in the products below
        squared_norms = points.square().sum(1)
    indices = np.empty((n, k), np.int64)
    distances = np.empty((n, k), np.float32)
    for rows in _chunks(n, n):
        queries = points[rows]
        gaps = relative_squares(queries, points, squared_norms)
        query = torch.arange(len(queries), device=device)
        gaps[query, query + rows.start] = torch.inf  # a vector is no neighbor of itself
        values, neighbors = gaps.topk(k, largest=False)
        if metric == "cosine":
            exact = (1 + values / 2).clamp(0, 2)
        else:
            exact = distances_to(points, queries, neighbors)
        exact, order = exact.sort(dim=1, stable=True)
        indices[rows] = neighbors.gather(1, order).cpu().numpy()
        distances[rows] = exact.cpu().numpy()
    return indices, distances


def distances_to(points: Tensor, queries: Tensor, neighbors: Tensor) -> Tensor:
    """Return the Euclidean distance of each query to points of its own, not by products: float32 [m, k].

    points: float32 [n, d].
    queries: float32 [m, d].
    neighbors: int64 [m, k], positions of the points of each query.
    """
    found = [
        torch.linalg.vector_norm(queries[rows, None] - points[neighbors[rows]], dim=2)
        for rows in _chunks(len(queries), neighbors.shape[1] * points.shape[1], CACHED_BYTES)
    ]
    return torch.cat(found)


def linked(vectors: Array, cosine: float, *, device: str = "cpu") -> Array:
    """Return the group of each vector: int64 [n]. Near vectors are of one group.

    The groups are the connected components of a graph. It joins two vectors whose cosine is at least
    `cosine`. So two vectors of one group may be far apart, if a chain of near ones joins them. A zero vector
    is alone.

    vectors: float [n, d].
    cosine: above 0, at most 1. Cosines are computed in float32: equal vectors may fall short of 1 by 1e-6.
    device: of PyTorch.

    Raise PrunebenchError unless the vectors are finite.
    """
    points = functional.normalize(_to_tensor(vectors, device))
    groups = np.arange(len(points))
    # A pair takes five numbers of 32 bits: its cosine, and two indices. All pairs of a chunk may be near.
    for rows in _chunks(len(points), 5 * max(1, len(points))):
        near = linear(points[rows], points[rows.start :], None) >= cosine
        one, other = near.triu(1).nonzero(as_tuple=True)  # each pair once, and no vector with itself
        if len(one):
            groups = merged(groups, one.cpu().numpy() + rows.start, other.cpu().numpy() + rows.start)
    return groups


def merged(groups: Array, one: Array, other: Array) -> Array:
    """Return the groups after one[i] and other[i] came together, for all i: int64 [n].

    groups: int [n], in 0..n - 1.
    one, other: indices of members, int [m].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(groups)
    links = coo_array((np.ones(len(one), bool), (groups[one], groups[other])), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)[groups]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False, kw_only=True)
class Clusters:
    """The result of k-means.

    assignments: int64 [n], the cluster of each vector.
    distances: float32 [n], the Euclidean distance of each vector to its center.
    centers: float32 [k, d].
    inertia: sum of the squared distances.
    """

    assignments: Array
    distances: Array
    centers: Array
    inertia: float


def kmeans(
    vectors: Array,
    k: int,
    *,
    rng: np.random.Generator,
    device: str = "cpu",
    starts: int = 10,
    steps: int = 300,
    tolerance: float = 1e-4,
) -> Clusters:
    """Cluster vectors by the best of several runs of Lloyd's algorithm, that is, by the lowest inertia.

    A run starts from greedy k-means++ (Arthur and Vassilvitskii 2007). An empty cluster moves to the vector
    farthest from its own center.

    vectors: float [n, d].
    k: number of clusters.
    rng: source of the random starts.
    device: of PyTorch.
    starts: number of runs.
    steps: most steps of a run.
    tolerance: a run ends once the summed squared movement of the centers is at most `tolerance` times the
        mean variance of a coordinate.

    Raise PrunebenchError unless 1 <= k <= n.
    """
    if not 1 <= k <= len(vectors):
        raise PrunebenchError(f"asked for {k} clusters of {len(vectors)} vectors; choose 1..{len(vectors)}")
    points = _to_tensor(vectors, device)
    offset = points.mean(0)
    points = points - offset
    generator = torch_generator(rng, device)
    threshold = tolerance * float(points.var(0, correction=0).mean())
    best: tuple[float, Tensor, Tensor, Tensor] | None = None
    for _ in range(starts):
        centers = _lloyd(points, _greedy_start(points, k, generator), steps, threshold)
        assignments = _assign(points, centers)
        squares = _squared_distances(points, centers, assignments)
        inertia = float(squares.sum(dtype=torch.float64))
        if best is None or inertia < best[0]:
            best = inertia, assignments, squares, centers
    assert best is not None
    inertia, assignments, squares, centers = best
    return Clusters(
        assignments=assignments.cpu().numpy(),
        distances=squares.sqrt().cpu().numpy(),
        centers=(centers + offset).cpu().numpy(),
        inertia=inertia,
    )


def _greedy_start(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw k centers by greedy k-means++: float32 [k, d].

    For each center a few vectors are drawn, with a probability proportional to the squared distance to the
    nearest center so far. The one that lowers the sum of these distances most becomes a center.
    """
    trials = 2 + int(np.log(k))
    squared_norms = points.square().sum(1)
    first = int(torch.randint(len(points), (), generator=generator, device=points.device))
    centers = [points[first]]
    gaps = (points - points[first]).square().sum(1)
    for _ in range(k - 1):
        # Draws by the cumulative sum, because multinomial refuses more than 2**24 vectors.
        cumulative = gaps.cumsum(0, dtype=torch.float64)
        uniform = torch.rand(trials, generator=generator, device=points.device, dtype=torch.float64)
        index = torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp_(max=len(points) - 1)
        candidates = points[index]
        squares = squared_distances(candidates, points, squared_norms[index], squared_norms)
        new_gaps = torch.minimum(gaps, squares)
        winner = new_gaps.sum(1, dtype=torch.float64).argmin()
        centers.append(candidates[winner])
        gaps = new_gaps[winner]
    return torch.stack(centers)


def _lloyd(points: Tensor, centers: Tensor, steps: int, threshold: float) -> Tensor:
    """Move every center to the mean of its vectors, until the summed squared movement is small enough."""
    for _ in range(steps):
        assignments = _assign(points, centers)
        sizes = torch.bincount(assignments, minlength=len(centers))
        empty = (sizes == 0).nonzero()[:, 0]
        if len(empty):
            squares = _squared_distances(points, centers, assignments)
            assignments[squares.topk(len(empty)).indices] = empty
            sizes = torch.bincount(assignments, minlength=len(centers))
        sums = torch.zeros_like(centers).index_add_(0, assignments, points)
        # A cluster may have lost its last vector to an empty one. Its center stays.
        moved = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), centers)
        shift = float((moved - centers).square().sum())
        centers = moved
        if shift <= threshold:
            break
    return centers


def _assign(points: Tensor, centers: Tensor) -> Tensor:
    """Return the nearest center of each vector: int64 [n]."""
    squared_norms = centers.square().sum(1)
    nearest_centers = [
        relative_squares(points[rows], centers, squared_norms).argmin(1)
        for rows in _chunks(len(points), len(centers))
    ]
    return torch.cat(nearest_centers)


def _squared_distances(points: Tensor, centers: Tensor, assignments: Tensor) -> Tensor:
    """Return the squared distance of each vector to its center: float32 [n]."""
    squares = []
    for rows in _chunks(*points.shape):
        squares.append((points[rows] - centers[assignments[rows]]).square().sum(1))
    return torch.cat(squares)


def _chunks(n: int, floats: int, most: int | None = None) -> Iterator[slice]:
    """Cut n rows into slices, so that temporary tensors stay within `most` bytes.

    floats: float32 numbers per row of a temporary tensor.
    most: None = CHUNK_BYTES.
    """
    rows = max(1, (most or CHUNK_BYTES) // (4 * floats))
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def _to_tensor(vectors: Array, device: str) -> Tensor:
    """Return the vectors as float32 on the device. Raise PrunebenchError unless [n, d] and finite."""
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise PrunebenchError(f"vectors of shape {vectors.shape}, expected [n, d], all finite")
    return torch.tensor(vectors, dtype=torch.float32, device=device)
