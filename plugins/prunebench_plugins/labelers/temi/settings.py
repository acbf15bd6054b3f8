"""The fields of TEMI, apart from the labeler so that its loop can import them."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import positive, require
from prunebench.parts.base import Backbones, Labeler


@dataclass(frozen=True, kw_only=True)
class TemiSettings(Labeler):
    """How the heads of TEMI train.

    backbone: backbone of the embeddings.
    heads: number of heads, above 0. The best one gives the labels.
    neighbors: nearest neighbors per image, above 0.
    hidden: units of the hidden layer of a head, above 0.
    bottleneck: units of its bottleneck, above 0, from which cosines with the clusters are taken.
    epochs: epochs of training, above 0.
    warmup_epochs: epochs until the learning rate reaches `lr`.
    freeze_epochs: epochs for which the last layer of the heads is frozen.
    batch: images per batch, above 0, at most all images.
    lr: learning rate per 256 images of a batch, above 0.
    weight_decay: weight decay of AdamW.
    momentum: share of the teacher that stays at a step, in 0..1.
    temperature: divisor of the cosines, above 0.
    beta: exponent of the loss, above 0.
    standardize: whether each coordinate of the embeddings is shifted and scaled to mean 0 and variance 1.
    """

    backbone: Backbones = "dino_vitb16"
    heads: int = 50
    neighbors: int = 50
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
    standardize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.label_fraction == 0,
            "temi.label_fraction",
            self.label_fraction,
            "0: clustering reads no label",
        )
        for name in ("heads", "neighbors", "hidden", "bottleneck", "epochs", "batch"):
            positive(f"temi.{name}", getattr(self, name))
        for name in ("lr", "temperature", "beta"):
            positive(f"temi.{name}", getattr(self, name))
        require(0 <= self.momentum <= 1, "temi.momentum", self.momentum, "in 0..1")
