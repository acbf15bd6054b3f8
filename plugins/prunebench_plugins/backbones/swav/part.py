"""SwAV: an encoder trained from scratch, without labels, on the images to be pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench_plugins.backbones.swav.settings import SwavSettings


@dataclass(frozen=True, kw_only=True)
class Swav(SwavSettings):
    """The pooled features of a network that learned to predict one crop's cluster from another crop.

    It is trained on the target images only, so `pretraining` is None. The defaults are those of the
    published adaptation to CIFAR. docs/methods/swav.md has settings for larger images.

    Source: Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments".
    It is the self-encoder of ELFS and SemiPrune (appendix A.2).

    The fields are those of `SwavSettings`.
    """

    name: ClassVar[str] = "swav"
    data_parallel: ClassVar[bool] = True

    def embed(
        self,
        images: Images,
        classes: tuple[str, ...],
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
        side: int | None = None,
    ) -> Array:
        """Return the trained network's pooled features in eval mode, not its projections: float32 [n, d].

        classes: names of the classes, for their number alone.
        side: side of the central square that the network sees, in pixels. None = the whole image.

        Raise PrunebenchError if the settings do not fit the images or the device, as bf16 on a CPU.
        Raise DivergedError if the loss is not finite.
        """
        from prunebench.nn import training
        from prunebench_plugins.backbones.swav import loop

        images = images.resized(self.resize)
        prototypes = self.prototypes or 3 * len(classes)
        network = loop.train(
            images,
            prototypes,
            self,
            rng=rng,
            device=device,
            progress=progress,
            checkpoint=checkpoint,
            side=side,
        )
        return training.embed(network, images, device=device, side=side)
