"""TEMI: deep clustering of frozen embeddings. It needs no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Checkpoint, Progress
from prunebench_plugins.labelers.temi.settings import TemiSettings


@dataclass(frozen=True, kw_only=True)
class Temi(TemiSettings):
    """One cluster per class, learned by heads that must agree on an image and its neighbors.

    Every image is paired with one of its nearest neighbors by cosine. The heads are MLPs on frozen
    embeddings. Each is a student with a teacher, which follows the student as a moving average. The optimizer
    is AdamW. The learning rate is constant after a warm-up. The head with the least mean loss in the last
    epoch gives the labels.

    Source: Adaloglou et al. 2023, "Exploring the Limits of Deep Image Clustering using Pretrained Models",
    with the settings of ELFS (Zheng et al. 2024), which SemiPrune adopts.

    The fields are those of `TemiSettings`.
    """

    name: ClassVar[str] = "temi"

    def label(
        self,
        embeddings: Array,
        classes: tuple[str, ...],
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> PseudoLabels:
        """Return clusters, int [n] in 0..len(classes)-1, with confidences. Some clusters may be empty.

        Raise PrunebenchError unless there are more images than `neighbors`.
        Raise DivergedError if the loss is not finite.
        """
        from prunebench_plugins.labelers.temi import loop

        clusters, confidences = loop.cluster(
            embeddings, len(classes), self, rng=rng, device=device, progress=progress, checkpoint=checkpoint
        )
        return PseudoLabels(values=clusters, space="cluster", confidences=confidences)
