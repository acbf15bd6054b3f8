"""FixMatch: semi-supervised training on a few annotated images and all others."""

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
    """A network trained from scratch on annotated images, and on its own predictions if it is confident.

    A step takes `batch` labeled and `mu` times as many unlabeled images. The prediction on a weakly
    augmented image counts if its probability reaches `threshold`. It is then the target of a strongly
    augmented view, with `weight_u` in the loss. The optimizer is SGD with Nesterov momentum. The learning
    rate falls from `lr` as cos(7/16 pi t), t in 0..1. The exponential moving average of the weights predicts
    the labels.

    Source: Sohn et al. 2020, "FixMatch", with the constants of the USB code base (Wang et al. 2022). The
    training is counted in epochs of the unlabeled images (SemiPrune, section 3.3, table 7).

    The fields are those of `FixMatchSettings`.
    """

    name: ClassVar[str] = "fixmatch"
    data_parallel: ClassVar[bool] = True

    def label(
        self,
        images: Images,
        classes: tuple[str, ...],
        known_labels: Array,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
        side: int | None = None,
    ) -> PseudoLabels:
        """Return annotated labels and predictions for the other images, with confidences and the network.

        The confidence is the predicted probability, or 1 for an annotated image.

        side: side of the central square that the network sees, in pixels. None = the whole image.

        Raise PrunebenchError if no image is annotated, or if all are.
        Raise PrunebenchError for bf16 on a CPU, or if `side` exceeds the side of the images.
        Raise DivergedError if the loss is not finite.
        """
        from prunebench.nn import networks, training
        from prunebench_plugins.labelers.fixmatch.loop import FixedThreshold, train

        images = images.resized(self.resize)
        network = train(
            images,
            known_labels,
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
        annotated = known_labels >= 0
        return PseudoLabels(
            values=np.where(annotated, known_labels, probability.argmax(1)),
            confidences=np.where(annotated, 1, probability.max(1)),
            network=self.network,
            weights=networks.state(network),
            resize=self.resize,
        )
