"""The fields of TEMI, which the training of its heads reads."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import require
from prunebench.parts.base import Backbones, Labeler


@dataclass(frozen=True, kw_only=True)
class TemiSettings(Labeler):
    """How the heads of TEMI train.

    standardise: shift and scale each coordinate of the embeddings to mean 0 and variance 1 first.
    """

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
