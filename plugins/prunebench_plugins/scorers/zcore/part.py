"""ZCore: images that cover the embedding space where few others do, found without a single label."""

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

    In each of `rounds` rounds a point is drawn in `sample_dim` dimensions of the embeddings. The image
    nearest to it gains 1; the `neighbours` images nearest to that one lose 1 between them, in
    proportion to distance ** -exponent. jitter: add a number drawn from 0..1 to each sum. In the end
    the sums are scaled to 0..1. Ties are broken at random, in each round anew. Griffin, Marks and Corso
    2026 (arXiv 2411.15349).
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
        """Return float64 [n] in 0..1: the lowest is 0 and the highest 1, or all are 0 where all are equal.

        A single image scores 0. Raise PrunebenchError where fewer than `sample_dim` dimensions vary, and
        for embeddings that are not finite.
        """
        from prunebench_plugins.scorers.zcore import loop

        seed = int(rng.integers(2**63))
        sums = rng.random(len(embeddings)) if self.jitter else np.zeros(len(embeddings))
        if len(embeddings) > 1:
            sums += loop.play(
                embeddings, self, seed=seed, device=device, progress=progress, checkpoint=checkpoint
            )
        sums -= sums.min(initial=np.inf)
        return sums / (sums.max(initial=0) or 1)
