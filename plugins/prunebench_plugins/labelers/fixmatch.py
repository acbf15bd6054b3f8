"""FixMatch: semi-supervised training on the paid labels and on all images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Labels
from prunebench.parts.base import Checkpoint, Labeler, Progress, require
from prunebench.parts.images import Images


@dataclass(frozen=True, kw_only=True)
class FixMatch(Labeler):
    """A network trained from scratch on its paid labels and, where it is sure, on its own guesses.

    Source: Sohn et al. 2020, "FixMatch", with the constants of the USB code base (Wang et al. 2022),
    trained for epochs of the unlabelled images (SemiPrune, section 3.3, table 7). A step takes `batch`
    labelled and `mu` times as many unlabelled images. The guess on a weakly augmented image counts if
    its probability reaches `threshold`; the network then has to make it on a strongly augmented view,
    with `weight_u` in the loss; at 0, unlabelled images are not looked at. SGD with Nesterov momentum;
    the learning rate falls from `lr` as cos(7/16 pi t). The labels are those of the exponential moving
    average of the weights.

    iterations: steps, instead of `epochs`. include_labelled: the paid images are also among the
    unlabelled ones. joint: all views of a step pass the network as one batch, hence share the
    statistics of BatchNorm; without, the weak views pass alone and need no gradient, which is faster.
    flip: half of the views are mirrored. ema: how much of the moving average stays at a step. ema_warmup:
    less of it stays at first, min(ema, (1 + t) / (10 + t)) at step t, from 0; without, as in USB, the average
    holds ema ** t of the initial weights, which is 5 % after 3000 steps of 0.999. bn_momentum: how fast
    BatchNorm forgets; None = as the network has it. A wide ResNet remembers a thousand steps: too much for
    a training of a few thousand.
    """

    name: ClassVar[str] = "fixmatch"
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
        known = self.precision in ("fp32", "bf16")
        require(known, f"{self.name}.precision", self.precision, "'fp32' or 'bf16'")

    def label(
        self,
        images: Images,
        classes: tuple[str, ...],
        known: Array,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
        side: int | None = None,
    ) -> Labels:
        """Return the paid labels where they were bought, guesses elsewhere, with probabilities and network.

        A class without a paid image is never learned. Raise PrunebenchError where nothing was paid or
        nothing is unlabelled, for bf16 on a CPU, and for a `side` above that of the images; DivergedError
        for a loss that is not finite.
        """
        from prunebench.nn import networks, training
        from prunebench_plugins.labelers.semi_supervised import FixedThreshold, train

        network = train(
            images,
            known,
            len(classes),
            self,
            FixedThreshold(self.threshold),
            rng=rng,
            device=device,
            progress=progress,
            checkpoint=checkpoint,
            side=side,
        )
        probability = training.predict(network, images, device=device, side=side)
        paid = known >= 0
        return Labels(
            values=np.where(paid, known, probability.argmax(1)),
            paid=paid,
            confidences=np.where(paid, 1, probability.max(1)),
            network=self.network,
            weights=networks.state(network),
        )
