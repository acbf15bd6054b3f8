"""Stage: the labels of a labeler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Artefact, Labels, PseudoLabels, Weights
from prunebench.parts.base import Labeler
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.given import annotated_labels
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.pipeline.stages.sight import seen_by_proxy
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelerLabels(PartStage):
    """Asks a labeler for labels, and records which images were annotated."""

    kind: ClassVar[str] = "labels"

    @classmethod
    def of(cls, plan: Plan, cell: Cell, labeler: Labeler) -> LabelerLabels:
        """Return the labels of a labeler."""
        known_labels = Input("known_labels", annotated_labels(plan, cell, labeler))
        available = (known_labels, *seen_by_proxy(plan, cell), *embeddings_of(plan, cell, labeler, ()))
        return cls.planned(plan, cell, labeler, available, cell.repeat("labeler"))

    def compute(self, context: Context) -> tuple[Artefact, ...]:
        """Return the labels, and the weights of the labeler's network if it has one.

        An image counts as annotated if the labeler received its label. The labeler has no say in it.
        Raise PrunebenchError unless there is one label per image, each a class or -1.
        """
        call = Call(self, context)
        returned = call(call.arguments())
        if isinstance(returned, Labels):
            raise call.bug("returned Labels, whose `annotated` is not its to say; return PseudoLabels")
        if isinstance(returned, PseudoLabels):
            pseudo_labels = returned
        else:
            pseudo_labels = PseudoLabels(values=_integers(call, returned))
        _check(call, pseudo_labels.values)
        labels = Labels(
            values=pseudo_labels.values,
            annotated=self._annotated(call, len(pseudo_labels.values)),
            space=pseudo_labels.space,
            confidences=pseudo_labels.confidences,
        )
        if pseudo_labels.network is None:
            return (labels,)
        weights = Weights(
            network=pseudo_labels.network, values=pseudo_labels.weights, resize=pseudo_labels.resize
        )
        return labels, weights

    def _annotated(self, call: Call, images: int) -> Array:
        """Return which labels the labeler received: bool [n]. All False if it has no `known_labels`."""
        if self.source("known_labels") is None:
            return np.zeros(images, np.bool_)
        annotated: Array = call.one("known_labels", Labels).annotated
        return annotated


def _integers(call: Call, returned: object) -> Array:
    """Return the result of a labeler as an array. Raise PrunebenchError unless it is a row of integers."""
    values = np.asarray(returned)
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise _misshapen(call, values)
    return values


def _check(call: Call, values: Array) -> None:
    """Raise PrunebenchError unless there is one label per image, each a class or -1."""
    images = len(call.context.images)
    classes = len(call.context.classes)
    if values.shape != (images,):
        raise _misshapen(call, values)
    if images and not -1 <= values.min() <= values.max() < classes:
        raise call.bug(f"returned labels outside -1..{classes - 1}")


def _misshapen(call: Call, values: Array) -> PrunebenchError:
    """Return the error about labels which are not int [n]."""
    images = len(call.context.images)
    return call.bug(f"returned {values.dtype} labels of shape {values.shape}, expected int [{images}]")
