"""Prototypicality: how far an image is from the center of its cluster of embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, choice, positive, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Scorer


@dataclass(frozen=True, kw_only=True)
class Prototypicality(Scorer):
    """Euclidean distance of an embedding to the center of its k-means cluster: high = far, atypical.

    backbone: backbone of the embeddings.
    clusters: number of clusters, above 0. None = the number of classes.
    starts: runs of k-means, above 0. The best one counts.
    normalize: "zscore" brings each coordinate to mean 0 and variance 1, "l2" each embedding to length 1,
        "none" changes nothing.
    end: "far" scores atypical images high. "near" scores typical images high, by the opposite sign.

    Source: Sorscher et al. 2022 (arXiv 2206.14486).
    """

    name: ClassVar[str] = "prototypicality"
    backbone: Backbones = "swav_rn50"
    clusters: int | None = None
    starts: int = 10
    normalize: str = "none"
    end: str = "far"

    def __post_init__(self) -> None:
        valid = self.clusters is None or self.clusters > 0
        require(valid, "prototypicality.clusters", self.clusters, "above 0, or None: the number of classes")
        positive("prototypicality.starts", self.starts)
        choice("prototypicality.normalize", self.normalize, ("none", "zscore", "l2"))
        choice("prototypicality.end", self.end, ("far", "near"))

    def score(
        self, embeddings: Array, classes: tuple[str, ...], rng: np.random.Generator, device: str
    ) -> Array:
        """Return float64 [n]: the distances, 0 or more, or their negatives if `end` is "near".

        Raise PrunebenchError if there are fewer images than clusters.
        """
        from prunebench.nn.neighbors import kmeans

        clusters = self.clusters or len(classes)
        if clusters > len(embeddings):
            raise PrunebenchError(
                f"prototypicality asks for {clusters} clusters of {len(embeddings)} images; "
                f"set prototypicality.clusters to 1..{len(embeddings)}"
            )
        points = normalized(embeddings, self.normalize)
        clustering = kmeans(points, clusters, rng=rng, device=device, starts=self.starts)
        distances: Array = clustering.distances.astype(np.float64)
        return distances if self.end == "far" else -distances


def normalized(embeddings: Array, how: str) -> Array:
    """Return the embeddings, float [n, d], normalized by "none", "zscore" or "l2".

    A constant coordinate becomes 0. An embedding of length 0 stays as it is.
    """
    if how == "zscore":
        mean = embeddings.mean(axis=0, dtype=np.float64).astype(embeddings.dtype)
        centered: Array = embeddings - mean
        # Unlike std(), einsum makes no float64 copy of the whole array.
        variance = np.einsum("ij,ij->j", centered, centered, dtype=np.float64) / len(centered)
        deviation = np.sqrt(variance).astype(embeddings.dtype)
        centered /= np.where(deviation > 0, deviation, np.inf)
        return centered
    if how == "l2":
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit: Array = embeddings / np.where(lengths > 0, lengths, 1)
        return unit
    return embeddings
