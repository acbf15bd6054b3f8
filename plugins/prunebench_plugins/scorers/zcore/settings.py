"""The fields of ZCore, which its rounds read."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import require
from prunebench.parts.base import Backbones, Scorer


@dataclass(frozen=True, kw_only=True)
class ZcoreSettings(Scorer):
    """How ZCore's rounds are played."""

    backbone: Backbones = ("clip_vitl14", "resnet18_imagenet")
    rounds: int = 1_000_000
    sample_dim: int = 2
    neighbours: int = 1000
    exponent: float = 4.0
    jitter: bool = True

    def __post_init__(self) -> None:
        for name in ("rounds", "sample_dim", "neighbours"):
            require(getattr(self, name) > 0, f"zcore.{name}", getattr(self, name), "above 0")
        require(self.exponent >= 0, "zcore.exponent", self.exponent, "0 or more")
