"""SwAV: an encoder trained from scratch, without labels, on the very images that are to be pruned."""

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
    """The pooled features of a network that learned to tell one crop's cluster from another crop.

    Source: Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster
    Assignments", the self-encoder of ELFS and SemiPrune (appendix A.2). Trained on the target images
    only: `pretraining` is None. The defaults are those of its published adaptation to CIFAR; the
    documentation has those for large images.
    """

    name: ClassVar[str] = "swav"

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
        """Return the trained network's features in eval mode, not its projections: float32 [n, d].

        `classes` is only counted. Raise PrunebenchError for what cannot be trained, such as bf16 on a
        CPU; DivergedError for a loss that is not finite.
        """
        from prunebench.nn import training
        from prunebench_plugins.backbones.swav import loop

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
