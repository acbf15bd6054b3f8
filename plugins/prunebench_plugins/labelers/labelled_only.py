"""Labelled only: the network of FixMatch without its unlabelled images, the control of semi-supervision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Checkpoint, Labeler, Progress
from prunebench.parts.images import Images
from prunebench_plugins.labelers.fixmatch.part import FixMatch


@dataclass(frozen=True, kw_only=True)
class LabelledOnly(Labeler):
    """What FixMatch would label, had it never looked at an unlabelled image.

    The network, its steps, batches of labelled images, learning rate, weak augmentation and moving
    average are those of `fixmatch`; only its consistency loss is left out, and with it the unlabelled
    half of every batch.
    """

    name: ClassVar[str] = "labelled_only"
    annotation: float = 0.1
    fixmatch: FixMatch = FixMatch()

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

        Raise PrunebenchError where nothing was paid, and what `FixMatch.label` raises.
        """
        if (known < 0).all():
            raise PrunebenchError(
                "labelled_only needs paid labels, but has none; raise labelled_only.annotation"
            )
        alone = replace(self.fixmatch, weight_u=0.0, include_labelled=True)
        return alone.label(images, classes, known, rng, device, progress, checkpoint, side)
