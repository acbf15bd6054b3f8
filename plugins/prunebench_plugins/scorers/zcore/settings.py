"""The fields of ZCore, apart from the scorer so that its loop can import them."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import positive, require
from prunebench.parts.base import Backbones, Scorer


@dataclass(frozen=True, kw_only=True)
class ZcoreSettings(Scorer):
    """How ZCore plays its rounds.

    backbone: backbones of the embeddings.
    rounds: number of rounds, above 0.
    sample_dim: dimensions of the embeddings drawn per round, above 0.
    neighbors: images that share the loss of a round, above 0.
    exponent: power of the inverse distance by which they share it, 0 or more.
    jitter: whether each sum starts from a random number in 0..1 instead of 0.
    """

    backbone: Backbones = ("clip_vitl14", "resnet18_imagenet")
    rounds: int = 1_000_000
    sample_dim: int = 2
    neighbors: int = 1000
    exponent: float = 4.0
    jitter: bool = True

    def __post_init__(self) -> None:
        for name in ("rounds", "sample_dim", "neighbors"):
            positive(f"zcore.{name}", getattr(self, name))
        require(self.exponent >= 0, "zcore.exponent", self.exponent, "0 or more")
