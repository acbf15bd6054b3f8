"""The fields of FixMatch, apart from the labeler so that its loop can import them."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import positive, require
from prunebench.parts.base import Labeler
from prunebench.parts.precision import check_precision


@dataclass(frozen=True, kw_only=True)
class FixMatchSettings(Labeler):
    """How FixMatch trains.

    label_fraction: label budget, as a share of the images, in 0..1.
    network: name of a network of `prunebench.nn.networks`.
    epochs: passes over the unlabeled images, above 0.
    iterations: number of steps, instead of `epochs`. None = by `epochs`.
    batch: labeled images per step, above 0.
    mu: unlabeled images per labeled image of a step, above 0.
    threshold: probability from which a prediction counts, in 0..1.
    weight_u: weight of the unlabeled images in the loss. 0 = they are not read at all.
    lr: learning rate of the first step, above 0.
    momentum: Nesterov momentum of SGD, in 0..1.
    weight_decay: weight decay of SGD.
    ema: share of the moving average that stays at a step, in 0..1.
    ema_warmup: whether less stays at first, min(ema, (1 + t) / (10 + t)) at step t, from 0. Without it, as
        in USB, the average holds ema ** t of the initial weights: 5 % after 3000 steps of 0.999.
    bn_momentum: momentum of BatchNorm. None = that of the network. A wide ResNet averages over a thousand
        steps, too many for a training of a few thousand.
    precision: "fp32", "tf32" or "bf16". See `prunebench.parts.precision`.
    include_labeled: whether the annotated images are also among the unlabeled ones.
    joint: whether all views of a step pass the network as one batch, and so share the statistics of
        BatchNorm. Otherwise the weak views pass alone, without a gradient, which is faster.
    flip: whether half of the views are mirrored.
    resize: side in pixels to which images are resized before the network sees them. None = as they are.
    """

    label_fraction: float = 0.1
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
    include_labeled: bool = True
    joint: bool = True
    flip: bool = True
    resize: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch", "mu", "lr"):
            positive(f"{self.name}.{name}", getattr(self, name))
        for name in ("iterations", "resize"):
            value = getattr(self, name)
            if value is not None:
                positive(f"{self.name}.{name}", value)
        for name in ("threshold", "momentum", "ema"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{self.name}.{name}", value, "in 0..1")
        check_precision(f"{self.name}.precision", self.precision)
