"""Labeled only: FixMatch without its unlabeled images, the control of semi-supervision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Labeler
from prunebench_plugins.labelers.fixmatch.part import FixMatch


@dataclass(frozen=True, kw_only=True)
class LabeledOnly(Labeler):
    """The labels that FixMatch would predict without ever seeing an unlabeled image.

    The network, steps, batches of labeled images, learning rate, weak augmentation and moving average are
    those of `fixmatch`. The consistency loss and the unlabeled part of every batch are left out.

    label_fraction: label budget, as a share of the images, in 0..1.
    fixmatch: the settings. Its own label_fraction is not used.
    """

    name: ClassVar[str] = "labeled_only"
    data_parallel: ClassVar[bool] = True
    label_fraction: float = 0.1
    fixmatch: FixMatch = FixMatch()

    def needs(self) -> dict[str, bool]:
        """Return the inputs of FixMatch."""
        return self.fixmatch.needs()

    def label(self, known_labels: Array, **inputs: Any) -> PseudoLabels:
        """Return annotated labels and predictions for the other images, with confidences and the network.

        Raise PrunebenchError if no image is annotated. Errors of `FixMatch.label` pass through.
        """
        if (known_labels < 0).all():
            raise PrunebenchError(
                "labeled_only needs annotated images, but has none; raise labeled_only.label_fraction"
            )
        supervised = replace(self.fixmatch, weight_u=0.0, include_labeled=True)
        return supervised.label(known_labels=known_labels, **inputs)
