"""Prototypicality: how far an image is from the centre of its cluster of embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Scorer


@dataclass(frozen=True, kw_only=True)
class Prototypicality(Scorer):
    """Euclidean distance of an embedding to the centre of its k-means cluster: high = far, atypical.

    clusters: how many, as many as there are classes if None. starts: the best of so many runs of
    k-means. normalise: "zscore" shifts and scales each coordinate to mean 0 and variance 1 first, "l2"
    each embedding to length 1, "none" does neither. end: "far" gives high scores to atypical images,
    "near" to typical ones, by the opposite sign. Sorscher et al. 2022 (arXiv 2206.14486).
    """

    name: ClassVar[str] = "prototypicality"
    backbone: Backbones = "swav_rn50"
    clusters: int | None = None
    starts: int = 10
    normalise: str = "none"
    end: str = "far"

    def __post_init__(self) -> None:
        some = self.clusters is None or self.clusters > 0
        require(some, "prototypicality.clusters", self.clusters, "above 0, or None: the number of classes")
        require(self.starts > 0, "prototypicality.starts", self.starts, "above 0")
        named = self.normalise in ("none", "zscore", "l2")
        require(named, "prototypicality.normalise", self.normalise, "'none', 'zscore' or 'l2'")
        require(self.end in ("far", "near"), "prototypicality.end", self.end, "'far' or 'near'")

    def score(
        self, embeddings: Array, classes: tuple[str, ...], rng: np.random.Generator, device: str
    ) -> Array:
        """Return float64 [n], distances, 0 or more; at end "near" their negatives.

        Raise PrunebenchError where there are fewer images than clusters.
        """
        from prunebench.nn.neighbours import kmeans

        clusters = self.clusters or len(classes)
        found = kmeans(
            normalised(embeddings, self.normalise), clusters, rng=rng, device=device, starts=self.starts
        )
        distances: Array = found.distances.astype(np.float64)
        return distances if self.end == "far" else -distances


def normalised(embeddings: Array, how: str) -> Array:
    """Return the embeddings, float [n, d], normalised by "none", "zscore" or "l2".

    A constant coordinate becomes 0, and an embedding of length 0 stays as it is.
    """
    if how == "zscore":
        centred: Array = embeddings - embeddings.mean(axis=0, dtype=np.float64).astype(embeddings.dtype)
        # Unlike std(), einsum makes no second copy of them all in float64.
        variance = np.einsum("ij,ij->j", centred, centred, dtype=np.float64) / len(centred)
        spread = np.sqrt(variance).astype(embeddings.dtype)
        centred /= np.where(spread > 0, spread, np.inf)
        return centred
    if how == "l2":
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit: Array = embeddings / np.where(lengths > 0, lengths, 1)
        return unit
    return embeddings
