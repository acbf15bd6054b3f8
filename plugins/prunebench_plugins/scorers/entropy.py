"""Entropy: how undecided the network is about an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import choice, require
from prunebench.parts.artefacts import Array, Dynamics, Weights
from prunebench.parts.base import PROXY, Backbones, Scorer
from prunebench_plugins.scorers.final_logits import final_logits


@dataclass(frozen=True, kw_only=True)
class Entropy(Scorer):
    """Entropy of the predicted probabilities, in nats. It reads no label.

    mode: "final" or "last_epoch". "final" asks the trained proxy network in eval mode about the plain
        images, as the code of CCS (Zheng et al. 2023). "last_epoch" takes the predictions of the last
        training epoch, on augmented images and before each step, as the code of DUAL.
    backbone: always the proxy network, since its head is read.
    """

    name: ClassVar[str] = "entropy"
    mode: str = "final"
    backbone: Backbones = PROXY

    def __post_init__(self) -> None:
        choice("entropy.mode", self.mode, ("final", "last_epoch"))
        require(self.backbone == PROXY, "entropy.backbone", self.backbone, "'proxy', whose head it reads")

    def needs(self) -> dict[str, bool]:
        """Return the inputs: weights and embeddings for the final prediction, else the dynamics."""
        if self.mode == "final":
            return {"weights": True, "embeddings": True}
        return {"dynamics": True}

    def score(
        self,
        dynamics: Dynamics | None = None,
        weights: Weights | None = None,
        embeddings: Array | None = None,
    ) -> Array:
        """Return float64 [n], or [m] with mode "last_epoch", in 0..log(classes).

        The embeddings of the proxy network are its penultimate features. Its last, linear layer turns them
        into the final prediction.
        Raise PrunebenchError if the weights hold no such layer for these embeddings.
        """
        if dynamics is not None:
            last: Array = dynamics.entropy[-1].astype(np.float64)
            return last
        assert embeddings is not None and weights is not None
        chunks = final_logits(embeddings, weights, self.name, "set entropy.mode = 'last_epoch'")
        return np.concatenate([_entropy(logits) for logits in chunks])


def _entropy(logits: Array) -> Array:
    """Return the entropy of the softmax of each row: float64 [b]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1)
    # -sum p log p with p = weights / total. This form never takes the logarithm of a p that underflowed to 0.
    entropy: Array = np.log(total) - (weights * shifted).sum(axis=1) / total
    return np.maximum(entropy, 0)
