"""Propagate: spreads the annotated labels over the graph of nearest neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, positive, require
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Backbones, Labeler
from prunebench_plugins.kept import latest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TOLERANCE = 1e-6  # of the norm of the residual, relative to that of the right-hand side
MAX_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Propagate(Labeler):
    """Each image takes the label that reaches it with the most weight over the neighbor graph.

    F = (I - alpha S)^-1 Y, with Y the annotated labels and S the symmetrically normalized affinities. The
    affinity of an image and a nearest neighbor is the positive part of their cosine, to the power `exponent`,
    made symmetric. Conjugate gradients solve for F.

    backbone: backbone of the embeddings.
    label_fraction: label budget, as a share of the images, in 0..1.
    neighbors: nearest neighbors per image, above 0.
    alpha: weight of the neighbors against the annotated labels, between 0 and 1.
    exponent: power of the cosine, above 0.

    Source: Zhou et al. 2004, "Learning with Local and Global Consistency". The affinities and the solver are
    those of Iscen et al. 2019, section 4.1.
    """

    name: ClassVar[str] = "propagate"
    backbone: Backbones = "dino_vitb16"
    label_fraction: float = 0.1
    neighbors: int = 50
    alpha: float = 0.99
    exponent: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("propagate.neighbors", self.neighbors)
        require(0 < self.alpha < 1, "propagate.alpha", self.alpha, "between 0 and 1")
        positive("propagate.exponent", self.exponent)

    def label(
        self, embeddings: Array, classes: tuple[str, ...], known_labels: Array, device: str
    ) -> PseudoLabels:
        """Return annotated labels and predictions for the other images, -1 if no label reaches an image.

        The confidence is the label's share of all the weight that reaches the image.

        Raise PrunebenchError if no image is annotated, or unless there are more images than `neighbors`.
        """
        from prunebench.nn.neighbors import nearest

        annotated = known_labels >= 0
        if not annotated.any():
            raise PrunebenchError(
                "propagate needs annotated images, but has none; raise propagate.label_fraction"
            )
        near, distances = latest(nearest, embeddings, self.neighbors, device=device)
        affinity = normalized(near, np.maximum(1 - distances, 0) ** self.exponent)
        seeds = np.zeros((len(known_labels), len(classes)), np.float32)
        seeds[annotated, known_labels[annotated]] = 1
        weights = np.maximum(spread(affinity, seeds, self.alpha), 0)
        total = weights.sum(axis=1)
        predictions = np.where(total > 0, weights.argmax(axis=1), -1)
        confidences = weights.max(axis=1) / np.where(total > 0, total, 1)
        return PseudoLabels(
            values=np.where(annotated, known_labels, predictions),
            confidences=np.where(annotated, 1, confidences),
        )


def normalized(near: Array, weights: Array) -> csr_array:
    """Return D^-1/2 (W + W') D^-1/2, sparse [n, n], with weights[i, j] at (i, near[i, j]) of W."""
    from scipy.sparse import csr_array, diags_array

    n, k = near.shape
    directed = csr_array((weights.ravel(), near.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    symmetric = directed + directed.T
    degree = symmetric.sum(axis=1)
    scale = diags_array(np.where(degree > 0, degree, 1) ** -0.5)
    return scale @ symmetric @ scale


def spread(affinity: csr_array, seeds: Array, alpha: float) -> Array:
    """Solve (I - alpha S) F = Y, float [n, classes], by conjugate gradients, all columns at once."""
    solution = np.zeros_like(seeds)
    residual = seeds.copy()
    direction = residual.copy()
    square = (residual**2).sum(axis=0)
    tolerance = TOLERANCE**2 * square
    for _ in range(MAX_ITERATIONS):
        if (square <= tolerance).all():
            break
        product = direction - alpha * (affinity @ direction)
        curvature = (direction * product).sum(axis=0)
        # A column that is solved, or has no seed, has curvature 0 and takes no step.
        step = np.divide(square, curvature, out=np.zeros_like(square), where=curvature > 0)
        solution += step * direction
        residual -= step * product
        previous = square
        square = (residual**2).sum(axis=0)
        momentum = np.divide(square, previous, out=np.zeros_like(square), where=previous > 0)
        direction = residual + momentum * direction
    return solution
