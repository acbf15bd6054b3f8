"""Stage: the test accuracy of the labeler's own network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Accuracy, Labels, Subset, Weights
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.accuracy import measured, with_classes
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelerAccuracy(Stage):
    """Tests the network that made the labels.

    side: the input size in pixels, or None for the size of the images.
    precision: in which a GPU computes it, that of the recipe. None: IEEE float32.
    """

    kind: ClassVar[str] = "labeler_accuracy"

    side: int | None = None
    precision: str | None = None

    @classmethod
    def of(cls, plan: Plan, cell: Cell, inputs: Sequence[Input]) -> LabelerAccuracy:
        """Return the test of a cell's labeler."""
        title = "the labeler's own network"
        return plan.add(
            cls,
            cell,
            inputs,
            title=title,
            ratio=cell.ratio,
            on_device=True,
            side=cell.recipe.side,
            precision=cell.recipe.rounding,
        )

    def compute(self, context: Context) -> tuple[Accuracy]:
        """Return the accuracy.

        Raise PrunebenchError if the labeler returned no network, or labels that are clusters.
        """
        from prunebench.nn import training

        labels = self.named("labels")[0]
        with_classes(context.read(labels, Labels), "test")
        weights = context.optional(labels, Weights)
        if weights is None:
            raise PrunebenchError("the labeler keeps no network of its own, so there is none to test")
        test = context.test[0].resized(weights.resize)
        network = context.network(weights.network, weights.values, test, self.side)
        precision = context.precision(self.precision)
        predictions = training.classify(
            network, test, device=context.device, side=self.side, precision=precision
        )
        subset = context.read(self.named("subset")[0], Subset)
        return (measured(context, subset, predictions, ()),)
