"""Stage: what a labeler says of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Artefact, Labels, PseudoLabels, Weights
from prunebench.parts.base import Labeler
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan, upstream_repeat
from prunebench.pipeline.stages.given import bought
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelerLabels(PartStage):
    """Asks a labeler, and keeps the ledger of the labels that were annotated."""

    kind: ClassVar[str] = "labels"

    @classmethod
    def of(cls, plan: Plan, cell: Cell, labeler: Labeler) -> LabelerLabels:
        """Return the labels of a labeler."""
        known = Input("known", bought(plan, cell, labeler))
        available = (known, *embeddings_of(plan, cell, labeler, ()))
        return cls.planned(plan, cell, labeler, available, upstream_repeat(cell))

    def compute(self, context: Context) -> tuple[Artefact, ...]:
        """Return the labels, and the network that made them where there is one.

        Annotated are the labels that were handed out, whatever the labeler says. Raise PrunebenchError unless
        each label is a class or -1.
        """
        call = Call(self, context)
        said = call(call.arguments())
        if isinstance(said, Labels):
            raise call.bug("returned Labels, whose `annotated` is not its to say; return PseudoLabels")
        given = said if isinstance(said, PseudoLabels) else PseudoLabels(values=_whole(call, said))
        _check(call, given.values)
        labels = Labels(
            values=given.values,
            annotated=self._annotated(call, len(given.values)),
            space=given.space,
            confidences=given.confidences,
        )
        if given.network is None:
            return (labels,)
        return labels, Weights(network=given.network, values=given.weights)

    def _annotated(self, call: Call, images: int) -> Array:
        """Return which labels the labeler was handed; one that does not ask for them uses none."""
        if self.source("known") is None:
            return np.zeros(images, np.bool_)
        annotated: Array = call.one("known", Labels).annotated
        return annotated


def _whole(call: Call, said: object) -> Array:
    """Return what a labeler returned, as an array of whole numbers."""
    values = np.asarray(said)
    if values.dtype.kind not in "iu" or values.ndim != 1:
        expected = f"expected int [{len(call.context.images)}]"
        raise call.bug(f"returned {values.dtype} labels of shape {values.shape}, {expected}")
    return values


def _check(call: Call, values: Array) -> None:
    """Raise PrunebenchError unless there is one label per image, each a class or -1."""
    images, classes = len(call.context.images), len(call.context.classes)
    if values.shape != (images,):
        raise call.bug(f"returned {values.dtype} labels of shape {values.shape}, expected int [{images}]")
    if images and not -1 <= values.min() <= values.max() < classes:
        raise call.bug(f"returned labels outside -1..{classes - 1}")
