"""Propagate: the paid labels spread over the graph of nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Backbones, Labeler

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TOLERANCE = 1e-6  # of the residual, relative to what was sought
MAX_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Propagate(Labeler):
    """Each image takes the label that reaches it with the most weight over the neighbour graph.

    Source: Zhou et al. 2004, "Learning with Local and Global Consistency": F = (I - alpha S)^-1 Y with
    S the symmetrically normalised affinities. These are as in Iscen et al. 2019, section 4.1: the
    positive part of the cosine, to the power `exponent`, between each image and its `neighbours`
    nearest, symmetrised; and F is found by conjugate gradients.
    """

    name: ClassVar[str] = "propagate"
    backbone: Backbones = "dino_vitb16"
    annotation: float = 0.1
    neighbours: int = 50
    alpha: float = 0.99
    exponent: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.neighbours > 0, "propagate.neighbours", self.neighbours, "above 0")
        require(0 < self.alpha < 1, "propagate.alpha", self.alpha, "between 0 and 1")
        require(self.exponent > 0, "propagate.exponent", self.exponent, "above 0")

    def label(self, embeddings: Array, classes: tuple[str, ...], known: Array, device: str) -> PseudoLabels:
        """Return the paid labels where they were bought, guesses elsewhere; -1 where no label reaches.

        The confidence is the share of the label in all that reached the image. Raise PrunebenchError
        where nothing was paid for, and where there are not more images than `neighbours`.
        """
        from prunebench.nn.neighbours import nearest

        paid = known >= 0
        if not paid.any():
            raise PrunebenchError("propagate needs paid labels, but has none; raise propagate.annotation")
        near, distances = nearest(embeddings, self.neighbours, device=device)
        affinity = normalised(near, np.maximum(1 - distances, 0) ** self.exponent)
        seeds = np.zeros((len(known), len(classes)), np.float32)
        seeds[paid, known[paid]] = 1
        reached = np.maximum(spread(affinity, seeds, self.alpha), 0)
        total = reached.sum(axis=1)
        values = np.where(total > 0, reached.argmax(axis=1), -1)
        confidences = reached.max(axis=1) / np.where(total > 0, total, 1)
        return PseudoLabels(values=np.where(paid, known, values), confidences=np.where(paid, 1, confidences))


def normalised(near: Array, weights: Array) -> csr_array:
    """Return D^-1/2 (W + W') D^-1/2, sparse [n, n]: W holds weights[i, j] at (i, near[i, j])."""
    from scipy.sparse import csr_array, diags_array

    n, k = near.shape
    directed = csr_array((weights.ravel(), near.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    symmetric = directed + directed.T
    degree = symmetric.sum(axis=1)
    scale = diags_array(np.where(degree > 0, degree, 1) ** -0.5)
    return scale @ symmetric @ scale


def spread(affinity: csr_array, seeds: Array, alpha: float) -> Array:
    """Solve (I - alpha S) F = Y, float [n, classes], by conjugate gradients, all columns at once."""
    found, residual = np.zeros_like(seeds), seeds.copy()
    direction, square = residual.copy(), (residual**2).sum(axis=0)
    enough = TOLERANCE**2 * square
    for _ in range(MAX_ITERATIONS):
        if (square <= enough).all():
            break
        image = direction - alpha * (affinity @ direction)
        curvature = (direction * image).sum(axis=0)
        step = np.divide(square, curvature, out=np.zeros_like(square), where=curvature > 0)
        found += step * direction
        residual -= step * image
        before, square = square, (residual**2).sum(axis=0)
        direction = (
            residual + np.divide(square, before, out=np.zeros_like(square), where=before > 0) * direction
        )
    return found
