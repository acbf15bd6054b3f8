"""What a trained proxy network predicts in the end, from its embeddings and its last layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Weights

ROWS = 8192  # images per chunk: bounds the memory of the logits


def final_logits(embeddings: Array, weights: Weights, scorer: str, remedy: str) -> Iterator[Array]:
    """Yield the logits of all images in eval mode, in order, in chunks: float64 [b, classes].

    embeddings: penultimate features of the proxy network, float32 [n, d].
    weights: of that network.
    scorer: who asks. remedy: what the user is told to do if the network has no such layer.

    Raise PrunebenchError if the weights hold no last, linear layer for these embeddings.
    """
    weight = weights.values.get("head.weight")
    bias = weights.values.get("head.bias")
    if weight is None or bias is None or weight.shape[1] != embeddings.shape[1]:
        raise PrunebenchError(
            f"{scorer} needs the last layer of the proxy network, but these weights do not hold it; {remedy}"
        )
    for start in range(0, len(embeddings), ROWS):
        logits = embeddings[start : start + ROWS] @ weight.T + bias
        yield logits.astype(np.float64)
