"""ZCore: an image scores high if it covers a part of the embedding space that few others cover.

It reads no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench_plugins.scorers.zcore.settings import ZcoreSettings


@dataclass(frozen=True, kw_only=True)
class Zcore(ZcoreSettings):
    """Coverage minus redundancy, summed over many random subspaces of the embeddings.

    Each round draws a point in `sample_dim` dimensions of the embeddings. The image nearest to the point
    gains 1. The `neighbors` images nearest to that image lose 1 between them, in proportion to
    distance ** -exponent. Ties are broken at random, in each round anew. At the end the sums are scaled to
    0..1.

    Source: Griffin, Marks and Corso 2026 (arXiv 2411.15349).

    The fields are those of `ZcoreSettings`.
    """

    name: ClassVar[str] = "zcore"
    version: ClassVar[int] = 2

    def score(
        self,
        embeddings: Array,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> Array:
        """Return float64 [n] in 0..1. The lowest is 0 and the highest 1. If all sums are equal, all are 0.

        Raise PrunebenchError if fewer than `sample_dim` dimensions vary, or if embeddings are not finite.
        """
        from prunebench_plugins.scorers.zcore import loop

        seed = int(rng.integers(2**63))
        sums = rng.random(len(embeddings)) if self.jitter else np.zeros(len(embeddings))
        if len(embeddings) > 1:  # a single image has no neighbor, and scores 0
            sums += loop.play(
                embeddings, self, seed=seed, device=device, progress=progress, checkpoint=checkpoint
            )
        sums -= sums.min(initial=np.inf)
        return sums / (sums.max(initial=0) or 1)
