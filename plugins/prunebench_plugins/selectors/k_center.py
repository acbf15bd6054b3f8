"""k-center: keeps images so that no image is far from a kept one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import choice
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Progress, Selector
from prunebench_plugins.kept import first_picks

if TYPE_CHECKING:
    import torch

FRONT = 512  # how many of the farthest images compete before all distances are updated
CHUNK = 2**26  # numbers in the largest temporary tensor: 256 MiB


@dataclass(frozen=True, kw_only=True)
class KCenter(Selector):
    """Start from a random image, then repeatedly keep the image farthest from all kept ones.

    The radius is at most twice the smallest possible. Of images equally far, a random one is kept.

    backbone: backbone of the embeddings.
    metric: "euclidean" or "cosine".

    Source: Sener and Savarese 2018 (arXiv 1708.00489), algorithm 1.
    """

    name: ClassVar[str] = "k_center"
    backbone: Backbones = "resnet18_imagenet"
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        choice("k_center.metric", self.metric, ("euclidean", "cosine"))

    def select(
        self, embeddings: Array, keep: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        begin = partial(self._picks, embeddings, rng, device)
        return first_picks(keep, begin, self, embeddings, rng, device=device, progress=progress)

    def _picks(self, embeddings: Array, rng: np.random.Generator, device: str) -> Iterator[Array]:
        """Yield all images in the order of the picks, int [_] each."""
        import torch
        from torch.nn import functional

        # Ties go to the first image. A random order makes it a random one.
        order = rng.permutation(len(embeddings))
        points = torch.tensor(embeddings[order], dtype=torch.float32, device=device)
        if self.metric == "cosine":
            points = functional.normalize(points)
            lengths = points.new_ones(len(points))  # of a zero vector too: its cosine distance to all is 1
        else:
            points -= points.mean(0)  # small lengths: less cancellation in the products
            lengths = points.square().sum(1)
        for block in farthest_first(points, lengths):
            yield order[block]


def farthest_first(points: torch.Tensor, lengths: torch.Tensor) -> Iterator[Array]:
    """Pick the first point, then the one farthest from all picks, until all are picked. Yields int [_].

    points: float [n, d].
    lengths: float [n], their squared lengths.

    Of points equally far the first is picked. The picks are the same as with one product of a matrix and a
    vector per pick, but cheaper. A distance to the nearest pick never grows. So the FRONT farthest points
    compete among themselves until none is as far as the next point outside was. Then one matrix product
    updates all distances.
    """
    n = len(points)
    gaps = points.new_full((n,), np.inf)  # squared distances to the nearest pick, -1 for picks
    fresh = [0]
    left = n - 1
    yield np.array(fresh, np.int64)
    while left:
        approach(gaps, points, lengths, fresh)
        values, order = gaps.sort(descending=True, stable=True)
        # The farthest point outside the front: its gap, and its index.
        limit = -1.0
        outside = n
        if n > FRONT:
            limit = float(values[FRONT])
            outside = int(order[FRONT])
        front = order[:FRONT].sort().values
        mutual = mutual_squares(points[front], lengths[front]).cpu().numpy()
        front_gaps = gaps[front].cpu().numpy()
        index = front.cpu().numpy()
        fresh = []
        while len(fresh) < left:
            top = int(front_gaps.argmax())
            if (-front_gaps[top], index[top]) > (-limit, outside):
                break
            fresh.append(int(index[top]))
            np.minimum(front_gaps, mutual[top], out=front_gaps)
            front_gaps[top] = -1
        left -= len(fresh)
        yield np.array(fresh, np.int64)


def mutual_squares(points: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the squared distances of points to one another: float32 [m, m], to themselves but for rounding.

    points: float32 [m, d].
    lengths: float32 [m], their squared lengths.
    """
    from prunebench.nn.neighbors import NEAR, fine_squares
    from prunebench.nn.products import squared_distances

    squares = squared_distances(points, points, lengths, lengths)
    near = (squares < NEAR * lengths).fill_diagonal_(False)
    rows = near.any(1).nonzero()[:, 0]
    if len(rows):
        fine = fine_squares(points[rows], points).float()
        squares[rows] = fine.where(near[rows], squares[rows])
    return squares


def approach(gaps: torch.Tensor, points: torch.Tensor, lengths: torch.Tensor, fresh: list[int]) -> None:
    """Lower `gaps` to the squared distance to the nearest of the points `fresh`, in place and in chunks.

    The gaps of `fresh` become -1. Other small gaps are computed in float64, and those of their copies are 0.
    """
    from prunebench.nn.neighbors import NEAR, fine_squares
    from prunebench.nn.products import squared_distances

    gaps[fresh] = -1
    picks = points[fresh]
    height = max(1, CHUNK // len(fresh))
    fine_height = max(1, CHUNK // (4 * max(picks.shape)))  # float64, and blocks beside their whole
    for start in range(0, len(points), height):
        chunk = slice(start, start + height)
        squares = squared_distances(points[chunk], picks, lengths[chunk], lengths[fresh]).amin(1)
        near = ((squares < NEAR * lengths[chunk]) & (gaps[chunk] > 0)).nonzero()[:, 0]
        for begin in range(0, len(near), fine_height):
            rows = near[begin : begin + fine_height]
            squares[rows] = fine_squares(points[chunk][rows], picks).amin(1).float()
        gaps[chunk] = gaps[chunk].minimum(squares)
