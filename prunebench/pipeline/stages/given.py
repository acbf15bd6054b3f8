"""Stage: labels of images that were annotated elsewhere. The labeler names the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Labels
from prunebench.parts.base import Labeler
from prunebench.pipeline.context import Context
from prunebench.pipeline.part_stage import Call, PartStage, described
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.known_labels import KnownLabels, revealed, there
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class Given(PartStage):
    """Reveals the labels of the images that a labeler names as annotated before."""

    kind: ClassVar[str] = "given"
    instant: ClassVar[bool] = True

    def compute(self, context: Context) -> tuple[Labels]:
        """Return the annotated labels, and -1 for all other images."""
        truth = context.annotations
        index = there(truth)
        if len(index) == len(truth):
            index = self._annotated(context)
        return (revealed(truth, index),)

    def _annotated(self, context: Context) -> Array:
        """Return the indices that the labeler names.

        Raise PrunebenchError unless they are unique and in 0..images - 1.
        """
        call = Call(self, context)
        images = len(context.annotations)
        assert isinstance(call.part, Labeler)
        with call.at_work():
            index = np.asarray(call.part.annotated_images(images, context.names))
        if not np.isin(index, np.arange(images)).all() or len(np.unique(index)) != index.size:
            raise call.bug(
                f"must name annotated images by unique indices in 0..{images - 1}, got {described(index)}"
            )
        return index


def annotated_labels(plan: Plan, cell: Cell, labeler: Labeler) -> KnownLabels | Given:
    """Return the stage that annotates the labels of a labeler: drawn at random, or given."""
    if labeler.sampling == "given" and 0 < labeler.label_fraction < 1:
        title = f"{labeler.label_fraction:.0%} of the labels, given"
        return plan.add(Given, cell, title=title, part=plan.identity(labeler))
    return KnownLabels.planned(plan, cell, labeler)
