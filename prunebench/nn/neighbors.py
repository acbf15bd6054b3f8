"""Nearest neighbors, groups of near vectors and k-means: in chunks of bounded memory, on CPU or GPU.

All vectors are compared, none by an index. Neighbors among near copies are right, too. Clusters may not be.
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

# Products in float32 give squared distances that are wrong by up to 3e-6 of a vector's squared length.
# Those below this share of it are computed otherwise. So no other is wrong by more than a thousandth.
NEAR = 4e-3
NOTHING = 1e-13  # of it: what float64 rounds, too. Vectors in float32 are no nearer, unless they are equal


def nearest(vectors: Array, k: int, *, metric: str = "cosine", device: str = "cpu") -> tuple[Array, Array]:
    """Return the k nearest other vectors of each vector, the nearest first.

    The result is the indices, int64 [n, k], and the distances, float32 [n, k]. A vector is never its own
    neighbor, but an equal vector may be, at distance 0. Of two vectors whose distances differ by less than a
    thousandth, either may be the k-th.

    vectors: float [n, d].
    k: number of neighbors.
    metric: "euclidean", or "cosine" for the distance 1 - cosine, in 0..2. A zero vector has cosine distance 1
        from all vectors.
    device: of PyTorch.

    Raise PrunebenchError for another metric.
    Raise PrunebenchError unless 1 <= k <= n - 1.
    Raise PrunebenchError unless the vectors are finite, and not too large for squares in float32.
    """
    if metric not in ("cosine", "euclidean"):
        raise PrunebenchError(f"no metric named {metric!r}. Known: cosine, euclidean.")
    n = len(vectors)
    if not 1 <= k <= n - 1:
        raise PrunebenchError(f"asked for {k} neighbors of each of {n} vectors; choose 1..{n - 1}")
    points = _to_tensor(vectors, device)
    # Small norms lose fewer digits in products.
    points = functional.normalize(points) if metric == "cosine" else points - points.mean(0)
    indices = np.empty((n, k), np.int64)
    distances = np.empty((n, k), np.float32)
    for rows, squares, neighbors in candidates(points, points, k, cosine=metric == "cosine", itself=True):
        if metric == "cosine":
            exact = _cosine_distances(points, points[rows], squares, neighbors)
        else:
            exact = distances_to(points, points[rows], neighbors)
        exact, order = exact.sort(dim=1, stable=True)
        indices[rows] = neighbors.gather(1, order).cpu().numpy()
        distances[rows] = exact.cpu().numpy()
    return indices, distances


def candidates(
    queries: Tensor, targets: Tensor, k: int, *, cosine: bool = False, itself: bool = False
) -> Iterator[tuple[slice | Array, Tensor, Tensor]]:
    """Yield the k targets nearest to each query, for some queries at a time, in chunks of bounded memory.

    Yields the positions of the queries, the squared distances, float32 [rows, k], and the positions of the
    targets, int64 [rows, k], the nearest first.

    Products in float32 rank the targets. A query whose targets they blur comes a second time. Its targets are
    then ranked by products in float64.

    queries: float32 [m, d].
    targets: float32 [n, d].
    cosine: whether the vectors have length 1, or 0 for one at squared distance 2 from all.
    itself: whether queries and targets are the same, and no vector is a neighbor of itself.
    """
    n = len(targets)
    if cosine:
        norms = targets.new_zeros(n)
        missing = queries.new_full((len(queries),), 2)  # what a squared distance has beyond -2 row.column
    else:
        norms = targets.square().sum(1)
        missing = queries.square().sum(1)
    blurred = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
    everyone = torch.arange(n, device=queries.device)
    for rows in _chunks(len(queries), n):
        gaps = relative_squares(queries[rows], targets, norms)
        if itself:
            gaps[everyone[: len(gaps)], everyone[rows]] = torch.inf
        values, neighbors = gaps.topk(k, largest=False)
        squares = values + missing[rows, None]
        blurred[rows] = squares[:, -1] < NEAR * missing[rows]
        yield rows, squares, neighbors
    again = blurred.nonzero()[:, 0]
    for part in _chunks(len(again), 4 * max(targets.shape)):  # float64, and blocks beside their whole
        index = again[part]
        gaps = fine_squares(queries[index], targets)
        if itself:
            gaps[everyone[: len(gaps)], index] = torch.inf
        values, neighbors = gaps.topk(k, largest=False)
        yield index.cpu().numpy(), values.float(), neighbors


def fine_squares(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the squared distance of each row to each column, by products in float64: float64 [m, n].

    Equal vectors have squared distance 0.

    rows: float32 [m, d].
    columns: float32 [n, d].
    """
    ours = rows.double()
    lengths = ours.square().sum(1)
    blocks = []
    for some in _chunks(len(columns), 2 * columns.shape[1]):
        theirs = columns[some].double()
        blocks.append(squared_distances(ours, theirs, lengths, theirs.square().sum(1)))
    squares = torch.cat(blocks, dim=1)
    return squares.masked_fill_(squares < NOTHING * lengths[:, None], 0)


def _cosine_distances(points: Tensor, queries: Tensor, squares: Tensor, neighbors: Tensor) -> Tensor:
    """Return the cosine distance of each query to points of its own: float32 [m, k]. It is 0 for a copy.

    points: float32 [n, d], of length 1 or 0.
    queries: float32 [m, d], of length 1 or 0.
    squares: the squared distances by products, float32 [m, k], ascending.
    neighbors: int64 [m, k], positions of the points of each query.
    """
    distances = (squares / 2).clamp(0, 2)
    near = (distances[:, 0] < NEAR).nonzero()[:, 0]
    if len(near):
        by_products = distances[near]
        measured = distances_to(points, queries[near], neighbors[near]).square() / 2
        distances[near] = measured.where(by_products < NEAR, by_products)
    return distances


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

    Raise PrunebenchError unless the vectors are finite, and not too large for squares in float32.
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

    Products in float32 tell which center is nearest. They are too coarse for vectors that are nearer to one
    another than a thousandth of their distance from the mean of all. Among these clusters are noise.

    vectors: float [n, d].
    k: number of clusters.
    rng: source of the random starts.
    device: of PyTorch.
    starts: number of runs.
    steps: most steps of a run.
    tolerance: a run ends once the summed squared movement of the centers is at most `tolerance` times the
        mean variance of a coordinate.

    Raise PrunebenchError unless 1 <= k <= n.
    Raise PrunebenchError unless the vectors are finite, and not too large for squares in float32.
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
        drawn = points[index]
        squares = squared_distances(drawn, points, squared_norms[index], squared_norms)
        new_gaps = torch.minimum(gaps, squares)
        winner = new_gaps.sum(1, dtype=torch.float64).argmin()
        centers.append(drawn[winner])
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
    """Return the vectors as float32 on the device.

    Raise PrunebenchError unless [n, d], with d above 0, all finite, and none too long for its square.
    """
    if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise PrunebenchError(f"vectors of shape {vectors.shape}, expected [n, d], all finite")
    largest = max(float(vectors.max(initial=0)), -float(vectors.min(initial=0)))
    # A distance has at most twice the numbers of a vector, and products add three squares.
    most = float(np.sqrt(np.finfo(np.float32).max / (16 * vectors.shape[1])))
    if largest > most:
        raise PrunebenchError(
            f"vectors with numbers up to {largest:.2g}, expected at most {most:.2g}: squares overflow float32"
        )
    # torch takes neither negative strides nor another order of bytes.
    return torch.tensor(np.ascontiguousarray(vectors, np.float32), device=device)
