"""Exact nearest neighbours and k-means, in chunks of bounded memory, on a CPU or a CUDA device.

On a CPU the same input gives the same output, bit for bit. No n x n matrix is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.seeds import torch_generator

Tensor = torch.Tensor
CHUNK_BYTES = 256 * 2**20  # of each temporary tensor


def nearest(vectors: Array, k: int, *, metric: str = "cosine", device: str = "cpu") -> tuple[Array, Array]:
    """Find the k nearest other vectors of each vector, nearest first.

    vectors: float [n, d]. metric: "cosine" (distance 1 - cosine, in 0..2; a zero vector is at 1 from
    all) or "euclidean". Returns indices, int64 [n, k], and distances, float32 [n, k]. A vector is
    never its own neighbour, but an equal one may be its neighbour at distance 0.

    Raise PrunebenchError for another metric, and unless 1 <= k <= n - 1.
    """
    if metric not in ("cosine", "euclidean"):
        raise PrunebenchError(f"no metric named {metric!r}. Known: cosine, euclidean.")
    n = len(vectors)
    if not 1 <= k <= n - 1:
        raise PrunebenchError(f"asked for {k} neighbours of each of {n} vectors; choose 1..{n - 1}")
    points = _placed(vectors, device)
    if metric == "cosine":
        points = functional.normalize(points)
        lengths = points.new_zeros(n)
    else:
        points = points - points.mean(0)  # keeps what the products below cancel small
        lengths = points.square().sum(1)
    indices = np.empty((n, k), np.int64)
    distances = np.empty((n, k), np.float32)
    for rows in _chunks(n, max(n, k * points.shape[1])):
        queries = points[rows]
        gaps = torch.addmm(lengths, queries, points.T, alpha=-2)  # but for a constant of each row
        own = torch.arange(len(queries), device=device)
        gaps[own, own + rows.start] = torch.inf
        values, found = gaps.topk(k, largest=False)
        if metric == "cosine":
            exact = (1 + values / 2).clamp(0, 2)
        else:
            exact = torch.linalg.vector_norm(queries[:, None] - points[found], dim=2)
        exact, order = exact.sort(dim=1, stable=True)
        indices[rows] = found.gather(1, order).cpu().numpy()
        distances[rows] = exact.cpu().numpy()
    return indices, distances


@dataclass(frozen=True, eq=False, kw_only=True)
class Clusters:
    """What k-means found.

    assignments: int64 [n], the cluster of each vector. distances: float32 [n], Euclidean, to its centre.
    centres: float32 [k, d]. inertia: the sum of the squared distances.
    """

    assignments: Array
    distances: Array
    centres: Array
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
    """Cluster vectors, float [n, d], into k clusters: the best of `starts` runs of Lloyd's algorithm.

    Each begins with greedy k-means++ (Arthur and Vassilvitskii 2007) and ends after `steps` steps, or
    once the centres' squared movement, summed, is at most `tolerance` times the mean variance of a
    coordinate. A cluster that runs empty moves to the vector farthest from its own centre.

    Raise PrunebenchError unless 1 <= k <= n.
    """
    if not 1 <= k <= len(vectors):
        raise PrunebenchError(f"asked for {k} clusters of {len(vectors)} vectors; choose 1..{len(vectors)}")
    points = _placed(vectors, device)
    offset = points.mean(0)
    points = points - offset
    generator = torch_generator(rng, device)
    enough = tolerance * float(points.var(0, correction=0).mean())
    best: tuple[float, Tensor, Tensor, Tensor] | None = None
    for _ in range(starts):
        centres = _lloyd(points, _spread(points, k, generator), steps, enough)
        assignments = _assign(points, centres)
        squares = _squares(points, centres, assignments)
        inertia = float(squares.sum(dtype=torch.float64))
        if best is None or inertia < best[0]:
            best = inertia, assignments, squares, centres
    assert best is not None
    inertia, assignments, squares, centres = best
    return Clusters(
        assignments=assignments.cpu().numpy(),
        distances=squares.sqrt().cpu().numpy(),
        centres=(centres + offset).cpu().numpy(),
        inertia=inertia,
    )


def _spread(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw k vectors far from one another, each the best of a few drawn in proportion to their gap."""
    trials = 2 + int(np.log(k))
    lengths = points.square().sum(1)
    first = int(torch.randint(len(points), (), generator=generator, device=points.device))
    chosen = [points[first]]
    gaps = (points - points[first]).square().sum(1)
    for _ in range(k - 1):
        # multinomial would refuse more than 2**24 vectors.
        reach = gaps.cumsum(0, dtype=torch.float64)
        thrown = torch.rand(trials, generator=generator, device=points.device, dtype=torch.float64)
        places = torch.searchsorted(reach, thrown * reach[-1]).clamp_(max=len(points) - 1)
        tried = points[places]
        squares = torch.addmm(lengths, tried, points.T, alpha=-2).add_(lengths[places, None])
        after = torch.minimum(gaps, squares.clamp_(min=0))
        winner = after.sum(1, dtype=torch.float64).argmin()
        chosen.append(tried[winner])
        gaps = after[winner]
    return torch.stack(chosen)


def _lloyd(points: Tensor, centres: Tensor, steps: int, enough: float) -> Tensor:
    """Move every centre to the mean of its vectors until they stay where they are."""
    for _ in range(steps):
        assignments = _assign(points, centres)
        sizes = torch.bincount(assignments, minlength=len(centres))
        empty = (sizes == 0).nonzero()[:, 0]
        if len(empty):
            assignments[_squares(points, centres, assignments).topk(len(empty)).indices] = empty
            sizes = torch.bincount(assignments, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, assignments, points)
        # A cluster that gave its last vector away stays where it was.
        moved = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), centres)
        shift = float((moved - centres).square().sum())
        centres = moved
        if shift <= enough:
            break
    return centres


def _assign(points: Tensor, centres: Tensor) -> Tensor:
    """Return the nearest centre of each vector: int64 [n]."""
    lengths = centres.square().sum(1)
    nearest_centres = [
        torch.addmm(lengths, points[rows], centres.T, alpha=-2).argmin(1)
        for rows in _chunks(len(points), len(centres))
    ]
    return torch.cat(nearest_centres)


def _squares(points: Tensor, centres: Tensor, assignments: Tensor) -> Tensor:
    """Return the squared distance of each vector to the centre it is assigned to: float32 [n]."""
    squares = [(points[rows] - centres[assignments[rows]]).square().sum(1) for rows in _chunks(*points.shape)]
    return torch.cat(squares)


def _chunks(n: int, floats: int) -> Iterator[slice]:
    """Cut n rows into slices whose temporary tensors, of `floats` numbers a row, stay in the budget."""
    rows = max(1, CHUNK_BYTES // (4 * floats))
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def _placed(vectors: Array, device: str) -> Tensor:
    """Return the vectors as float32 on the device; raise PrunebenchError unless [n, d] and finite."""
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise PrunebenchError(f"vectors of shape {vectors.shape}, expected [n, d], all finite")
    return torch.tensor(vectors, dtype=torch.float32, device=device)
