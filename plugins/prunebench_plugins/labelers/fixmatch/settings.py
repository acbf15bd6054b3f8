"""The fields of FixMatch, which its training reads."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import require
from prunebench.parts.base import Labeler
from prunebench.parts.precision import check_precision


@dataclass(frozen=True, kw_only=True)
class FixMatchSettings(Labeler):
    """How FixMatch trains.

    iterations: steps, instead of `epochs`. include_labelled: the paid images are also among the
    unlabelled ones. joint: all views of a step pass the network as one batch, hence share the
    statistics of BatchNorm; without, the weak views pass alone and need no gradient, which is faster.
    flip: half of the views are mirrored. ema: how much of the moving average stays at a step. ema_warmup:
    less of it stays at first, min(ema, (1 + t) / (10 + t)) at step t, from 0; without, as in USB, the average
    holds ema ** t of the initial weights, which is 5 % after 3000 steps of 0.999. bn_momentum: how fast
    BatchNorm forgets; None = as the network has it. A wide ResNet remembers a thousand steps: too much for
    a training of a few thousand.
    """

    annotation: float = 0.1
    network: str = "wrn_28_2"
    epochs: int = 100
    iterations: int | None = None
    batch: int = 64
    mu: int = 7
    threshold: float = 0.95
    weight_u: float = 1.0
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 5e-4
    ema: float = 0.999
    ema_warmup: bool = False
    bn_momentum: float | None = None
    precision: str = "fp32"
    include_labelled: bool = True
    joint: bool = True
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch", "mu", "lr"):
            require(getattr(self, name) > 0, f"{self.name}.{name}", getattr(self, name), "above 0")
        positive = self.iterations is None or self.iterations > 0
        require(positive, f"{self.name}.iterations", self.iterations, "above 0")
        for name in ("threshold", "momentum", "ema"):
            require(0 <= getattr(self, name) <= 1, f"{self.name}.{name}", getattr(self, name), "in 0..1")
        check_precision(f"{self.name}.precision", self.precision)
