"""ProbCover: the image whose ball holds the most images that no drawn ball holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import positive, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Draw, Progress
from prunebench_plugins.kept import first_picks

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

FEW = 64  # images in a ball, from which on a list is made: its memory grows with them


@dataclass(frozen=True, kw_only=True)
class ProbCover(Draw):
    """Repeatedly draw the image whose ball covers the most images that are not covered yet.

    All balls have one radius: the largest with which a share `purity` of them hold a single pseudo-label,
    those of k-means. Once all images are covered, the others are drawn at random. Embeddings are scaled to
    length 1. The draws of one seed are nested. Images that have a label already cover others, too.

    backbone: backbone of the embeddings.
    classes: number of clusters that stand for classes, above 0. Set it to the number that you expect.
    purity: share of balls that hold one cluster alone, above 0, at most 1.
    starts: runs of k-means, above 0. The best counts.

    Source: Yehuda et al. 2022 (arXiv 2205.11320), algorithm 1 and section 3.2.
    """

    name: ClassVar[str] = "probcover"
    backbone: Backbones = "efficientnet_lite0"
    classes: int = 10
    purity: float = 0.95
    starts: int = 10

    def __post_init__(self) -> None:
        positive("probcover.classes", self.classes)
        positive("probcover.starts", self.starts)
        require(0 < self.purity <= 1, "probcover.purity", self.purity, "above 0, at most 1")

    def draw(
        self,
        embeddings: Array,
        count: int,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        labeled: Array | None = None,
    ) -> Array:
        """Return int [count], unique indices in 0..n-1, in the order of the picks."""
        if labeled is None:
            labeled = np.zeros(len(embeddings), bool)
        begin = partial(self._picks, embeddings, labeled, rng, device)
        asked = (self, embeddings, labeled, rng)
        return first_picks(count, begin, *asked, device=device, progress=progress)

    def _picks(
        self, embeddings: Array, labeled: Array, rng: np.random.Generator, device: str
    ) -> Iterator[Array]:
        """Yield all images without a label in the order of the picks, int64 [_] each."""
        import torch

        from prunebench.nn.neighbors import kmeans
        from prunebench_plugins.draws.sphere import shuffled

        order, points = shuffled(embeddings, rng)
        wanted = min(self.classes, len(points))
        clusters = kmeans(points, wanted, rng=rng, device=device, starts=self.starts).assignments
        tensor = torch.tensor(points, device=device)
        radius = squared_radius(tensor, torch.tensor(clusters, device=device), self.purity)
        for block in cover(tensor, radius, torch.tensor(labeled[order], device=device)):
            yield order[block]


def squared_radius(points: torch.Tensor, clusters: torch.Tensor, purity: float) -> float:
    """Return the largest squared radius with which at least a share `purity` of the balls are pure.

    A ball is open: it holds what is nearer than the radius. So it is pure up to the distance of the nearest
    image of another cluster. The result is infinite if there is one cluster alone.

    points: float32 [n, d].
    clusters: int [n].
    """
    from prunebench_plugins.draws.sphere import squares

    limits = []
    for rows, block in squares(points, points):
        block.masked_fill_(clusters[rows, None] == clusters, math.inf)
        limits.append(block.amin(1).cpu().numpy())
    pure = math.ceil(len(points) * purity - 1e-9)  # safe from binary rounding
    return float(np.sort(np.concatenate(limits))[len(points) - pure])


def cover(points: torch.Tensor, radius: float, labeled: torch.Tensor) -> Iterator[Array]:
    """Pick images greedily, until all without a label are picked. Yields int64 [_].

    Of images that cover equally many, one that is not covered itself is picked, and then the first.

    points: float32 [n, d].
    radius: the squared radius of the balls.
    labeled: the images that have a label, bool [n]. What their balls hold is covered from the start.

    While balls hold many images, a list of these would take too much memory. So at first only counts are
    kept: an image that is covered lowers the count of every ball that holds it. The list is made once no ball
    holds more than FEW.
    """
    import torch

    n = len(points)
    everyone = torch.arange(n, device=points.device)
    counts = torch.cat([block.sum(1) for block in balls(points, radius, everyone)])
    uncovered = torch.ones(n, dtype=torch.bool, device=points.device)

    def cover_by(images: torch.Tensor) -> None:
        """Cover what the balls of some images hold."""
        held = torch.cat([block.any(1) for block in balls(points, radius, images)])
        fresh = everyone[uncovered & held]
        uncovered[fresh] = False
        counts.sub_(torch.cat([block.sum(1) for block in balls(points, radius, fresh)]))
        counts[images] = 0  # rounding may leave them one

    cover_by(everyone[labeled])
    left = ~labeled.cpu().numpy()
    while counts.amax() > FEW:
        top = int((2 * counts + uncovered).argmax())
        left[top] = False
        yield np.array([top])
        cover_by(everyone[top : top + 1])
    free = uncovered.cpu().numpy()
    for top in cover_by_few(held_by_balls(points, radius, everyone[uncovered]), free):
        left[top] = False
        yield np.array([top])
    # No ball holds two: what is not covered is drawn first, then the rest.
    yield np.concatenate([np.flatnonzero(left & free), np.flatnonzero(left & ~free)])


def held_by_balls(points: torch.Tensor, radius: float, index: torch.Tensor) -> csr_array:
    """Return which of some images each ball holds, sparse bool [n, n].

    index: the images in question, int [some].
    """
    import torch
    from scipy.sparse import csr_array

    pairs = [np.empty((0, 2), np.int64)]
    begin = 0
    for block in balls(points, radius, index):
        found = block.nonzero()
        pairs.append(torch.stack([found[:, 0] + begin, index[found[:, 1]]], dim=1).cpu().numpy())
        begin += len(block)
    rows, columns = np.concatenate(pairs).T
    return csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(points), len(points)))


def cover_by_few(held: csr_array, free: Array) -> Iterator[int]:
    """Pick images as `cover` does, while a ball holds two or more that are not covered.

    held: which images each ball holds, sparse bool [n, n].
    free: bool [n], whether an image is not covered. Changed with each pick.
    """
    holders = held.tocsc()
    counts = np.diff(held.indptr)
    while True:
        top = int((2 * counts + free).argmax())
        if counts[top] <= 1:
            return
        yield top
        ball = held.indices[held.indptr[top] : held.indptr[top + 1]]
        fresh = ball[free[ball]]
        free[fresh] = False
        np.subtract.at(counts, holders[:, fresh].indices, 1)


def balls(points: torch.Tensor, radius: float, index: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield which of some images the ball of each image holds, blocks of it: bool [rows, some].

    A ball holds its own image, however small it is.

    index: the images in question, int [some].
    """
    from prunebench_plugins.draws.sphere import squares

    for rows, block in squares(points, points[index]):
        held = block < radius
        inside = (index >= rows.start) & (index < rows.stop)
        held[index[inside] - rows.start, inside.nonzero()[:, 0]] = True
        yield held
