"""Stage: the annotated labels of a labeler, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Labels
from prunebench.parts.base import Labeler
from prunebench.parts.sampling import READ_ALL, draw_labels
from prunebench.pipeline.context import Context, stream
from prunebench.pipeline.job import Seed
from prunebench.pipeline.plan import Plan, seed_of
from prunebench.pipeline.stage import Stage
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownLabels(Stage):
    """Annotates a share of the images with their true labels.

    label_fraction: the share, in 0..1, a field of the labeler.
    sampling: how images are drawn, a field of the labeler.
    seed: the seed of the draw, or None if all labels or none are annotated.
    """

    kind: ClassVar[str] = "known_labels"
    instant: ClassVar[bool] = True

    label_fraction: float
    sampling: str
    seed: Seed | None = None

    @classmethod
    def planned(cls, plan: Plan, cell: Cell, labeler: Labeler) -> KnownLabels:
        """Return the draw for a labeler."""
        drawn = 0 < labeler.label_fraction < 1
        title = f"{labeler.label_fraction:.0%} of the labels, {labeler.sampling}"
        if drawn and labeler.sampling in READ_ALL:
            title += ", which reads every label"
        return plan.add(
            cls,
            cell,
            title=title,
            label_fraction=labeler.label_fraction,
            sampling=labeler.sampling,
            seed=seed_of("known", cell.repeat("pipeline")) if drawn else None,  # another name, another draw
        )

    def compute(self, context: Context) -> tuple[Labels]:
        """Return the annotated labels, and -1 for all other images."""
        truth = context.annotations
        if self.seed:
            index = draw_labels(truth, self.label_fraction, self.sampling, stream(self.seed))
        elif self.label_fraction:
            index = there(truth)
        else:
            index = np.arange(0)
        return (revealed(truth, index),)


def there(truth: Array) -> Array:
    """Return the indices of images with a known true label. In a user's photo folder these are few."""
    return np.flatnonzero(truth >= 0)


def revealed(truth: Array, index: Array) -> Labels:
    """Return labels that hold the truth at `index`, marked as annotated, and -1 elsewhere."""
    values = np.full(len(truth), -1)
    values[index] = truth[index]
    return Labels(values=values, annotated=values >= 0)
