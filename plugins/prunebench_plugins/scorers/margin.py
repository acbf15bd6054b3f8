"""Margin: how close the network's two most probable classes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array, Weights
from prunebench.parts.base import PROXY, Backbones, Scorer
from prunebench_plugins.scorers.final_logits import final_logits


@dataclass(frozen=True, kw_only=True)
class Margin(Scorer):
    """One minus the distance of the two highest probabilities (Scheffer et al. 2001). It reads no label.

    The trained proxy network predicts in eval mode, on the plain images.

    backbone: always the proxy network, since its head is read.
    """

    name: ClassVar[str] = "margin"
    backbone: Backbones = PROXY

    def __post_init__(self) -> None:
        require(self.backbone == PROXY, "margin.backbone", self.backbone, "'proxy', whose head it reads")

    def score(self, weights: Weights, embeddings: Array) -> Array:
        """Return float64 [n], in 0..1, 1 where the network cannot tell two classes apart.

        The embeddings of the proxy network are its penultimate features.
        Raise PrunebenchError if the weights hold no last, linear layer for these embeddings.
        """
        chunks = final_logits(embeddings, weights, self.name, "choose another scorer, such as aum")
        return np.concatenate([1 - _margin(logits) for logits in chunks])


def _margin(logits: Array) -> Array:
    """Return the distance of the two highest softmax probabilities of each row: float64 [b]."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = np.partition(odds / odds.sum(axis=1, keepdims=True), -2, axis=1)
    margin: Array = probabilities[:, -1] - probabilities[:, -2]
    return margin
