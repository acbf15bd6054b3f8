"""Embeddings as unit vectors in a random order, and blocks of their squared distances."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from prunebench.nn.products import squared_distances
from prunebench.parts.artefacts import Array

Tensor = torch.Tensor
CHUNK = 2**26  # numbers in the largest temporary tensor: 256 MiB


def shuffled(embeddings: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return a random order of the images, int64 [n], and their unit vectors in that order, float32 [n, d].

    Ties of what follows go to the first, and so to a random image. A zero vector stays 0.
    """
    order = rng.permutation(len(embeddings))
    points = embeddings[order].astype(np.float32)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    np.divide(points, lengths, out=points, where=lengths > 0)
    return order, points


def squares(points: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the squared distances of points to columns, a block of rows at a time: float32 [rows, columns].

    points, columns: float32 [_, d]. Each vector has length 1 or 0.
    """
    ours, theirs = (vectors.square().sum(1) for vectors in (points, columns))
    height = max(1, CHUNK // max(1, len(columns)))
    for start in range(0, len(points), height):
        rows = slice(start, min(start + height, len(points)))
        yield rows, squared_distances(points[rows], columns, ours[rows], theirs)
