"""FixMatch: semi-supervised training on the paid labels and on all images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench_plugins.labelers.fixmatch.settings import FixMatchSettings


@dataclass(frozen=True, kw_only=True)
class FixMatch(FixMatchSettings):
    """A network trained from scratch on its paid labels and, where it is sure, on its own guesses.

    Source: Sohn et al. 2020, "FixMatch", with the constants of the USB code base (Wang et al. 2022),
    trained for epochs of the unlabelled images (SemiPrune, section 3.3, table 7). A step takes `batch`
    labelled and `mu` times as many unlabelled images. The guess on a weakly augmented image counts if
    its probability reaches `threshold`; the network then has to make it on a strongly augmented view,
    with `weight_u` in the loss; at 0, unlabelled images are not looked at. SGD with Nesterov momentum;
    the learning rate falls from `lr` as cos(7/16 pi t). The labels are those of the exponential moving
    average of the weights.
    """

    name: ClassVar[str] = "fixmatch"

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
    ) -> PseudoLabels:
        """Return the paid labels where they were bought, guesses elsewhere, with probabilities and network.

        A class without a paid image is never learned. Raise PrunebenchError where nothing was paid or
        nothing is unlabelled, for bf16 on a CPU, and for a `side` above that of the images; DivergedError
        for a loss that is not finite.
        """
        from prunebench.nn import networks, training
        from prunebench_plugins.labelers.fixmatch.loop import FixedThreshold, train

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
        return PseudoLabels(
            values=np.where(paid, known, probability.argmax(1)),
            confidences=np.where(paid, 1, probability.max(1)),
            network=self.network,
            weights=networks.state(network),
        )
