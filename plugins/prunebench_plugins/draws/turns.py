"""Clusters that take turns: the best image of each, then the second best of each."""

from __future__ import annotations

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.sampling import rank_within


def in_turn(clusters: Array, merit: Array, smallest: int = 1) -> Array:
    """Return all images in the order of the turns: int64 [n].

    In each turn every cluster gives its best image that is left, and the largest cluster is first. Clusters
    of fewer than `smallest` images come after all others. Of equals, the first image comes first.

    clusters: the cluster of each image, int [n], from 0.
    merit: of each image, float [n]. The highest is best.
    """
    best_first = np.argsort(-merit, kind="stable")
    turn = rank_within(clusters[best_first])
    sizes = np.bincount(clusters)[clusters[best_first]]
    return best_first[np.lexsort((clusters[best_first], -sizes, turn, sizes < smallest))]
