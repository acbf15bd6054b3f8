"""TypiClust: the most typical image of each cluster, the largest cluster first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from prunebench.errors import positive
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Draw, Progress
from prunebench_plugins.kept import first_picks


@dataclass(frozen=True, kw_only=True)
class TypiClust(Draw):
    """Cluster the images into as many clusters as labels, and draw the most typical image of each.

    The typicality of an image is 1 over its mean distance to its nearest neighbors in its cluster. The
    largest cluster is first. If there are more labels than clusters, each gives its second most typical
    image, and so on. Embeddings are scaled to length 1.

    Images that have a label already count as drawn: they have clusters, too, and each cluster waits until the
    others have as many labels.

    backbone: backbone of the embeddings.
    clusters: most clusters of k-means, above 0.
    neighbors: nearest neighbors of an image, above 0. At most half of the images in its cluster.
    smallest: clusters of fewer images come last, above 0.
    starts: runs of k-means, above 0. The best counts.

    Source: Hacohen, Dekel and Weinshall 2022 (arXiv 2202.02794), the variant TPC_RP.
    """

    name: ClassVar[str] = "typiclust"
    backbone: Backbones = "efficientnet_lite0"
    clusters: int = 500
    neighbors: int = 20
    smallest: int = 6
    starts: int = 1

    def __post_init__(self) -> None:
        for name in ("clusters", "neighbors", "smallest", "starts"):
            positive(f"typiclust.{name}", getattr(self, name))

    def draw(
        self,
        embeddings: Array,
        count: int,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        labeled: Array | None = None,
    ) -> Array:
        """Return int [count], unique indices in 0..n-1, in the order of the turns."""
        if labeled is None:
            labeled = np.zeros(len(embeddings), bool)
        wanted = min(count + int(labeled.sum()), self.clusters)
        begin = partial(self._ranking, embeddings, labeled, wanted, rng, device, progress)
        asked = (self, embeddings, labeled, wanted, rng)
        return first_picks(count, begin, *asked, device=device, progress=progress)

    def _ranking(
        self,
        embeddings: Array,
        labeled: Array,
        wanted: int,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
    ) -> Iterator[Array]:
        """Yield all images without a label in the order of the turns: int64 [_], once.

        wanted: number of clusters.
        """
        from prunebench.nn.neighbors import kmeans
        from prunebench_plugins.draws.sphere import shuffled
        from prunebench_plugins.draws.turns import in_turn

        order, points = shuffled(embeddings, rng)
        is_labeled = labeled[order]
        clusters = kmeans(points, wanted, rng=rng, device=device, starts=self.starts).assignments
        remoteness = mean_distances(points, clusters, self.neighbors, device, progress)
        # Those with a label have the first turns of their clusters.
        turns = in_turn(clusters, np.where(is_labeled, np.inf, -remoteness), self.smallest)
        yield order[turns[~is_labeled[turns]]]


def mean_distances(points: Array, clusters: Array, neighbors: int, device: str, progress: Progress) -> Array:
    """Return the mean distance of each image to its nearest neighbors in its cluster: float32 [n].

    A cluster of m images has at most m / 2 neighbors. The only image of a cluster has distance 0.

    points: float32 [n, d].
    clusters: the cluster of each image, int [n], from 0.
    """
    from prunebench.nn.neighbors import nearest

    distances = np.zeros(len(points), np.float32)
    total = int(clusters.max()) + 1
    for cluster in range(total):
        members = np.flatnonzero(clusters == cluster)
        k = min(neighbors, len(members) // 2)
        if k:
            apart = nearest(points[members], k, metric="euclidean", device=device)[1]
            distances[members] = apart.mean(axis=1)
        progress(cluster + 1, total)
    return distances
