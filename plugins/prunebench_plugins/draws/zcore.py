"""ZCore as a draw: the image of the highest score is first."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Checkpoint, Draw, Progress
from prunebench_plugins.scorers.zcore.part import Zcore


@dataclass(frozen=True, kw_only=True)
class ZcoreDraw(Draw):
    """Draw the images of the highest ZCore scores, the highest first. Ties are broken at random.

    The draws of one seed are nested.

    backbone: backbones of the embeddings.
    rounds: number of rounds, above 0.
    sample_dim: dimensions of the embeddings drawn per round, above 0.
    neighbors: images that share the loss of a round, above 0.
    exponent: power of the inverse distance by which they share it, 0 or more.
    jitter: whether each sum starts from a random number in 0..1 instead of 0.

    Source: Griffin, Marks and Corso 2026 (arXiv 2411.15349). It is the scorer `zcore`.
    """

    name: ClassVar[str] = "zcore"
    backbone: Backbones = "efficientnet_lite0"
    rounds: int = 1_000_000
    sample_dim: int = 2
    neighbors: int = 1000
    exponent: float = 4.0
    jitter: bool = True

    def __post_init__(self) -> None:
        _ = self._scorer  # raises for values out of range

    @property
    def _scorer(self) -> Zcore:
        return Zcore(**{entry.name: getattr(self, entry.name) for entry in fields(self)})

    def draw(
        self,
        embeddings: Array,
        count: int,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> Array:
        """Return int [count], unique indices in 0..n-1, the highest score first. Raise as the scorer."""
        turn = rng.permutation(len(embeddings))
        scores = self._scorer.score(embeddings, rng, device, progress, checkpoint)
        return np.lexsort((turn, -scores))[:count]
