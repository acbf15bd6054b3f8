"""TEMI: deep clustering of frozen embeddings, which buys no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Labels
from prunebench.parts.base import Backbones, Checkpoint, Labeler, Progress, require


@dataclass(frozen=True, kw_only=True)
class Temi(Labeler):
    """One cluster per class, found by heads that must agree on an image and on its neighbours.

    Source: Adaloglou et al. 2023, "Exploring the Limits of Deep Image Clustering using Pretrained
    Models", with the settings of ELFS (Zheng et al. 2024), which SemiPrune takes over. Every image is
    paired with one of its `neighbours` nearest by cosine. `heads` heads, MLPs of `hidden` and
    `bottleneck` units on `temperature`-scaled cosines, train for `epochs` epochs in batches of `batch`
    (fewer where there are fewer images), each a student with a teacher that follows it by `momentum`;
    `beta` is the exponent of the loss. AdamW with `weight_decay`; the learning rate is `lr` per 256
    images, reached after `warmup_epochs`, and constant from there on; the last layer rests for
    `freeze_epochs`. The head with the least mean loss in the last epoch gives the labels.

    standardise: shift and scale each coordinate of the embeddings to mean 0 and variance 1 first.
    """

    name: ClassVar[str] = "temi"
    backbone: Backbones = "dino_vitb16"
    heads: int = 50
    neighbours: int = 50
    hidden: int = 512
    bottleneck: int = 256
    epochs: int = 200
    warmup_epochs: int = 20
    freeze_epochs: int = 1
    batch: int = 1024
    lr: float = 1e-4
    weight_decay: float = 1e-4
    momentum: float = 0.996
    temperature: float = 0.1
    beta: float = 0.6
    standardise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.annotation == 0, "temi.annotation", self.annotation, "0: clustering reads no label")
        for name in ("heads", "neighbours", "hidden", "bottleneck", "epochs", "batch"):
            require(getattr(self, name) > 0, f"temi.{name}", getattr(self, name), "above 0")
        for name in ("lr", "temperature", "beta"):
            require(getattr(self, name) > 0, f"temi.{name}", getattr(self, name), "above 0")
        require(0 <= self.momentum <= 1, "temi.momentum", self.momentum, "in 0..1")

    def label(
        self,
        embeddings: Array,
        classes: tuple[str, ...],
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> Labels:
        """Return clusters, int [n] in 0..len(classes)-1, some perhaps empty, with their confidences.

        Raise PrunebenchError where there are not more images than `neighbours`, DivergedError for a
        loss that is not finite.
        """
        from prunebench_plugins.labelers import temi_heads

        clusters, confidences = temi_heads.cluster(
            embeddings, len(classes), self, rng=rng, device=device, progress=progress, checkpoint=checkpoint
        )
        paid = np.zeros(len(embeddings), bool)
        return Labels(values=clusters, paid=paid, space="cluster", confidences=confidences)
