"""Stage: the quality of pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.parts.artefacts import Labels, Quality
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelQuality(Stage):
    """Compares pseudo-labels with the truth. No method reads the result."""

    kind: ClassVar[str] = "quality"
    instant: ClassVar[bool] = True

    @classmethod
    def of(cls, plan: Plan, cell: Cell, labels: Input) -> LabelQuality:
        """Return the quality of the labels of a cell."""
        return plan.add(cls, cell, (labels,))

    def compute(self, context: Context) -> tuple[Quality]:
        """Return the metrics."""
        from prunebench.pipeline import label_quality as quality

        labels = context.read(self.named("labels")[0], Labels)
        return (quality.measure(labels, context.truth, len(context.classes)),)
