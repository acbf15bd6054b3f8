"""USL: the image of each cluster that has near neighbors, and is far from those drawn elsewhere."""

from __future__ import annotations

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

SMALLEST = 1e-6  # squared distance: float32 tells no two nearer unit vectors apart


@dataclass(frozen=True, kw_only=True)
class Usl(Draw):
    """Cluster the images into as many clusters as labels, and draw an image of each by density.

    The density of an image is 1 over its mean squared distance to its nearest neighbors. In the first round
    the densest image of each cluster is chosen. In further rounds the images near to those chosen in other
    clusters count less. The largest cluster is first. If there are more labels than clusters, each gives its
    second best image, and so on. Embeddings are scaled to length 1.

    backbone: backbone of the embeddings.
    clusters: most clusters of k-means, above 0.
    neighbors: nearest neighbors of an image, above 0. At most all others.
    rounds: number of rounds, above 0.
    weight: how much near images of other clusters count, 0 or more.
    exponent: power of the inverse squared distance to them, 0 or more.
    momentum: share of what earlier rounds say, in 0..1, below 1.
    starts: runs of k-means, above 0. The best counts.

    Source: Wang, Lian and Yu 2022 (arXiv 2110.03006), section 3, training-free.
    """

    name: ClassVar[str] = "usl"
    backbone: Backbones = "efficientnet_lite0"
    clusters: int = 1000
    neighbors: int = 400
    rounds: int = 10
    weight: float = 0.5
    exponent: float = 0.5
    momentum: float = 0.9
    starts: int = 1

    def __post_init__(self) -> None:
        for name in ("clusters", "neighbors", "rounds", "starts"):
            positive(f"usl.{name}", getattr(self, name))
        for name in ("weight", "exponent"):
            require(getattr(self, name) >= 0, f"usl.{name}", getattr(self, name), "0 or more")
        require(0 <= self.momentum < 1, "usl.momentum", self.momentum, "in 0..1, below 1")

    def draw(
        self, embeddings: Array, count: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Array:
        """Return int [count], unique indices in 0..n-1, in the order of the turns."""
        wanted = min(count, self.clusters)
        begin = partial(self._ranking, embeddings, wanted, rng, device, progress)
        return first_picks(count, begin, self, embeddings, wanted, rng, device=device, progress=progress)

    def _ranking(
        self, embeddings: Array, wanted: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Iterator[Array]:
        """Yield all images in the order of the turns: int64 [n], once.

        wanted: number of clusters.
        """
        import torch

        from prunebench.nn.neighbors import kmeans
        from prunebench_plugins.draws.sphere import shuffled
        from prunebench_plugins.draws.turns import in_turn

        order, points = shuffled(embeddings, rng)
        clusters = kmeans(points, wanted, rng=rng, device=device, starts=self.starts).assignments
        density = densities(points, self.neighbors, device)
        merit = self._merit(torch.tensor(points, device=device), clusters, density, progress)
        yield order[in_turn(clusters, merit)]

    def _merit(self, points: torch.Tensor, clusters: Array, density: Array, progress: Progress) -> Array:
        """Return density less crowding, after the last round: float64 [n]."""
        crowding = np.zeros(len(points))
        for done in range(1, self.rounds):
            chosen = best_of_each(clusters, density - self.weight * crowding)
            fresh = crowded(points, clusters, chosen, self.exponent)
            crowding = self.momentum * crowding + (1 - self.momentum) * fresh
            progress(done, self.rounds)
        return density - self.weight * crowding


def densities(points: Array, neighbors: int, device: str) -> Array:
    """Return 1 over the mean squared distance of each image to its nearest neighbors: float64 [n].

    points: float32 [n, d], of length 1.
    """
    from prunebench.nn.neighbors import nearest

    k = min(neighbors, len(points) - 1)
    if not k:  # a single image
        return np.ones(len(points))
    # Of unit vectors the squared distance is twice the cosine distance.
    apart: Array = nearest(points, k, metric="cosine", device=device)[1]
    density: Array = 1 / np.maximum(2 * apart.mean(axis=1, dtype=np.float64), SMALLEST)
    return density


def best_of_each(clusters: Array, merit: Array) -> Array:
    """Return the image of the highest merit of each cluster, the first of equals: int64 [clusters]."""
    best_first = np.argsort(-merit, kind="stable")
    _, first = np.unique(clusters[best_first], return_index=True)
    return best_first[first]


def crowded(points: torch.Tensor, clusters: Array, chosen: Array, exponent: float) -> Array:
    """Return how near each image is to those chosen in other clusters: float64 [n].

    It is the sum of their inverse squared distances to the power `exponent`.

    points: float32 [n, d].
    chosen: an image of each cluster, int [m].
    """
    import torch

    from prunebench_plugins.draws.sphere import squares

    owners = torch.tensor(clusters, device=points.device)
    index = torch.tensor(chosen, device=points.device)
    sums = []
    for rows, block in squares(points, points[index]):
        nearness = block.clamp_(min=SMALLEST).pow_(-exponent)
        nearness.masked_fill_(owners[rows, None] == owners[index], 0)
        sums.append(nearness.sum(1, dtype=torch.float64))
    return torch.cat(sums).cpu().numpy()
