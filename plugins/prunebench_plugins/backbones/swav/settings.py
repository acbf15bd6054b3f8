"""The fields of SwAV, which its training reads."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import require
from prunebench.parts.base import Backbone
from prunebench.parts.precision import check_precision


@dataclass(frozen=True, kw_only=True)
class SwavSettings(Backbone):
    """How SwAV trains.

    crops: groups (how many, side, least area, largest area); side as a share of what the recipe's
    networks see, areas as shares of the image. Clusters are assigned to the first two crops of the
    first group and predicted from all others. flip, jitter, blur: see `prunebench.nn.multicrop.Crops`.
    hidden, projection: units of the projection, whose output lies on the unit sphere. prototypes: how
    many clusters; None = three per class. temperature: of the prediction. epsilon, sinkhorn_iterations:
    entropy and length of the assignment. queue: projections of earlier images that take part in it,
    rounded down to whole batches, kept from the epoch `queue_epochs` on; 0 = none.
    batch: at most the number of images; what is left over waits for another epoch. The learning rate
    rises linearly from 0 over `warmup_epochs` epochs, to fall as a cosine from `lr` to `final_lr`;
    `trust` is that of LARC, which scales it for each layer. freeze_steps: so long the prototypes rest.
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

    def __post_init__(self) -> None:
        for count, side, least, largest in self.crops:
            sound = count > 0 and side > 0 and 0 < least <= largest <= 1
            require(sound, "swav.crops", self.crops, "groups (count, side, least area, largest area)")
        two = len(self.crops) > 0 and self.crops[0][0] >= 2
        require(two, "swav.crops", self.crops, "a first group of two crops or more")
        above_0 = ("hidden", "projection", "temperature", "epsilon", "sinkhorn_iterations", "epochs", "lr")
        for name in (*above_0, "trust"):
            require(getattr(self, name) > 0, f"swav.{name}", getattr(self, name), "above 0")
        require(self.batch > 1, "swav.batch", self.batch, "2 or more")
        require(0 <= self.jitter <= 1, "swav.jitter", self.jitter, "in 0..1")
        seen = self.blur == 0 or self.blur >= 0.1
        require(seen, "swav.blur", self.blur, "0, or 0.1 pixels and more")
        many = self.prototypes is None or self.prototypes > 1
        require(many, "swav.prototypes", self.prototypes, "2 or more")
        rises = 0 <= self.warmup_epochs < self.epochs
        require(
            rises, "swav.warmup_epochs", self.warmup_epochs, f"in 0..{self.epochs - 1}, below swav.epochs"
        )
        check_precision("swav.precision", self.precision)
