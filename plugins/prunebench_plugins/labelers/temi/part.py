"""TEMI: deep clustering of frozen embeddings, which buys no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Checkpoint, Progress
from prunebench_plugins.labelers.temi.settings import TemiSettings


@dataclass(frozen=True, kw_only=True)
class Temi(TemiSettings):
    """One cluster per class, found by heads that must agree on an image and on its neighbours.

    Source: Adaloglou et al. 2023, "Exploring the Limits of Deep Image Clustering using Pretrained
    Models", with the settings of ELFS (Zheng et al. 2024), which SemiPrune takes over. Every image is
    paired with one of its `neighbours` nearest by cosine. `heads` heads, MLPs of `hidden` and
    `bottleneck` units on `temperature`-scaled cosines, train for `epochs` epochs in batches of `batch`
    (fewer where there are fewer images), each a student with a teacher that follows it by `momentum`;
    `beta` is the exponent of the loss. AdamW with `weight_decay`; the learning rate is `lr` per 256
    images, reached after `warmup_epochs`, and constant from there on; the last layer rests for
    `freeze_epochs`. The head with the least mean loss in the last epoch gives the labels.
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
        """Return clusters, int [n] in 0..len(classes)-1, some perhaps empty, with their confidences.

        Raise PrunebenchError where there are not more images than `neighbours`, DivergedError for a
        loss that is not finite.
        """
        from prunebench_plugins.labelers.temi import loop

        clusters, confidences = loop.cluster(
            embeddings, len(classes), self, rng=rng, device=device, progress=progress, checkpoint=checkpoint
        )
        return PseudoLabels(values=clusters, space="cluster", confidences=confidences)
