"""k-center as a draw: the image farthest from all drawn ones is next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import choice
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Draw, Progress
from prunebench_plugins.selectors.k_center import KCenter


@dataclass(frozen=True, kw_only=True)
class KCenterDraw(Draw):
    """Start from a random image, then repeatedly draw the image farthest from all drawn ones.

    The draws of one seed are nested.

    backbone: backbone of the embeddings.
    metric: "euclidean" or "cosine".

    Source: Sener and Savarese 2018 (arXiv 1708.00489), algorithm 1. It is the selector `k_center`.
    """

    name: ClassVar[str] = "kcenter"
    backbone: Backbones = "efficientnet_lite0"
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        choice("kcenter.metric", self.metric, ("euclidean", "cosine"))

    def draw(
        self, embeddings: Array, count: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Array:
        """Return int [count], unique indices in 0..n-1, in the order of the picks."""
        selector = KCenter(backbone=self.backbone, metric=self.metric)
        return selector.select(embeddings, count, rng, device, progress)
