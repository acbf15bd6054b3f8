"""The fields of SwAV, apart from the backbone so that its loop can import them."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import positive, require
from prunebench.parts.base import Backbone
from prunebench.parts.precision import check_precision

POSITIVE = (
    "hidden",
    "projection",
    "temperature",
    "epsilon",
    "sinkhorn_iterations",
    "epochs",
    "lr",
    "trust",
)


@dataclass(frozen=True, kw_only=True)
class SwavSettings(Backbone):
    """How SwAV trains.

    The crops:

    crops: groups (count, side, least area, largest area). The side is a share of the side that the recipe's
        networks see. Areas are shares of the image. The first two crops of the first group are assigned to
        clusters, which all other crops predict.
    flip: whether half of the crops are mirrored.
    jitter: largest change of brightness, contrast and saturation, in 0..1. 0 = no color distortion.
    blur: standard deviation of the strongest Gaussian blur, in pixels. 0 = none, else 0.1 or more.

    The model:

    network: name of a network of `prunebench.nn.networks`.
    hidden: units of the hidden layer of the projection, above 0.
    projection: units of its output, above 0, which lies on the unit sphere.
    prototypes: number of clusters, 2 or more. None = three per class.

    The loss:

    temperature: divisor of the cosines in the prediction, above 0.
    epsilon: weight of the entropy in the assignment, above 0.
    sinkhorn_iterations: iterations of the assignment, above 0.
    queue: projections of earlier images that take part in the assignment, rounded down to whole batches.
        0 = none.
    queue_epochs: epoch from which the queue is filled.

    The training:

    epochs: passes over the images, above 0.
    batch: images per batch, 2 or more, at most all images. An incomplete last batch is left out of the epoch.
    lr: largest learning rate, above 0.
    final_lr: learning rate to which it falls as a cosine.
    warmup_epochs: epochs of a linear rise of the learning rate from 0, below `epochs`.
    momentum: momentum of SGD.
    weight_decay: weight decay of SGD.
    trust: trust coefficient of LARC, above 0, which scales the learning rate of each layer.
    freeze_steps: steps for which the prototypes are frozen.
    precision: "fp32", "tf32" or "bf16". See `prunebench.parts.precision`.
    resize: side in pixels to which images are resized before all else. None = as they are.
    """

    network: str = "resnet50_cifar"
    crops: tuple[tuple[int, float, float, float], ...] = ((2, 1.0, 0.08, 1.0),)
    flip: bool = True
    jitter: float = 0.8
    blur: float = 2.0
    hidden: int = 2048
    projection: int = 128
    prototypes: int | None = None
    temperature: float = 0.5
    epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    queue: int = 0
    queue_epochs: int = 15
    epochs: int = 500
    batch: int = 512
    lr: float = 0.06
    final_lr: float = 0.0006
    warmup_epochs: int = 10
    momentum: float = 0.9
    weight_decay: float = 1e-6
    trust: float = 0.001
    freeze_steps: int = 900
    precision: str = "fp32"
    resize: int | None = None

    def __post_init__(self) -> None:
        for count, side, least, largest in self.crops:
            valid_group = count > 0 and side > 0 and 0 < least <= largest <= 1
            require(valid_group, "swav.crops", self.crops, "groups (count, side, least area, largest area)")
        has_pair = len(self.crops) > 0 and self.crops[0][0] >= 2
        require(has_pair, "swav.crops", self.crops, "a first group of two crops or more")
        for name in POSITIVE:
            positive(f"swav.{name}", getattr(self, name))
        if self.resize is not None:
            positive("swav.resize", self.resize)
        require(self.batch > 1, "swav.batch", self.batch, "2 or more")
        require(0 <= self.jitter <= 1, "swav.jitter", self.jitter, "in 0..1")
        valid_blur = self.blur == 0 or self.blur >= 0.1
        require(valid_blur, "swav.blur", self.blur, "0, or 0.1 pixels and more")
        valid_prototypes = self.prototypes is None or self.prototypes > 1
        require(valid_prototypes, "swav.prototypes", self.prototypes, "2 or more")
        valid_warmup = 0 <= self.warmup_epochs < self.epochs
        expected = f"in 0..{self.epochs - 1}, below swav.epochs"
        require(valid_warmup, "swav.warmup_epochs", self.warmup_epochs, expected)
        check_precision("swav.precision", self.precision)
