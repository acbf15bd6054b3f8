"""Entropy: how undecided the network is about an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, Dynamics, Weights
from prunebench.parts.base import PROXY, Backbones, Scorer

ROWS = 8192  # images whose logits are held at a time


@dataclass(frozen=True, kw_only=True)
class Entropy(Scorer):
    """Entropy of the predicted probabilities, in nats; it reads no label.

    mode: "final", the prediction of the trained proxy network in eval mode on the plain images (Zheng
    et al. 2023, the code of CCS), or "last_epoch", that of the last epoch of the training pass, on
    augmented images and before each step (the code of DUAL). backbone is the proxy network; there is no
    other choice.
    """

    name: ClassVar[str] = "entropy"
    mode: str = "final"
    backbone: Backbones = PROXY

    def __post_init__(self) -> None:
        allowed = self.mode in ("final", "last_epoch")
        require(allowed, "entropy.mode", self.mode, "'final' or 'last_epoch'")
        require(self.backbone == PROXY, "entropy.backbone", self.backbone, "'proxy', whose head it reads")

    def needs(self) -> dict[str, bool]:
        """Return the inputs: the embeddings of the proxy network only for its final prediction."""
        return {"weights": True, "embeddings": True} if self.mode == "final" else {"dynamics": True}

    def score(
        self,
        dynamics: Dynamics | None = None,
        weights: Weights | None = None,
        embeddings: Array | None = None,
    ) -> Array:
        """Return float64 [n], or [m] with mode "last_epoch", in 0..log(classes).

        The proxy network's last, linear layer, applied to its penultimate features, which are its
        embeddings, gives the final prediction. Raise PrunebenchError where the weights hold no such layer
        for these embeddings.
        """
        if dynamics is not None:
            last: Array = dynamics.entropy[-1].astype(np.float64)
            return last
        assert embeddings is not None and weights is not None
        weight, bias = (weights.values.get(f"head.{name}") for name in ("weight", "bias"))
        if weight is None or bias is None or weight.shape[1] != embeddings.shape[1]:
            raise PrunebenchError(
                "entropy needs the last layer of the proxy network, which these weights do not hold; "
                "set entropy.mode = 'last_epoch'"
            )
        starts = range(0, len(embeddings), ROWS)
        return np.concatenate([_entropy(embeddings[s : s + ROWS] @ weight.T + bias) for s in starts])


def _entropy(logits: Array) -> Array:
    """Return the entropy of the softmax of each row: float64 [b]."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1)
    # -sum p log p with p = weights / total, without the logarithm of a p that underflowed to 0.
    entropy: Array = np.log(total) - (weights * shifted).sum(axis=1) / total
    return np.maximum(entropy, 0)
