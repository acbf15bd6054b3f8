"""Stage: the images that the selection of a method trains on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from prunebench.parts.artefacts import Spent
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import SPENT, Stage
from prunebench.pipeline.stages.subset import SelectorSubset
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class SelectionWork(Stage):
    """Adds up the images that the trainings of a selection trained on, those of its searches too."""

    kind: ClassVar[str] = "selection_work"
    instant: ClassVar[bool] = True

    @classmethod
    def input_of(cls, plan: Plan, cell: Cell) -> Input:
        """Return what a cell has as input: the work of the method that it is matched to."""
        assert cell.method.timed_to is not None
        subset = SelectorSubset.of(plan, replace(cell, method=cell.method.timed_to))
        stages = [Input("stage", stage) for stage in subset.ancestors()]
        return Input(SPENT, plan.add(cls, cell, stages, ratio=cell.ratio))

    def compute(self, context: Context) -> tuple[Spent]:
        """Return the sum. Raise PrunebenchError if a stage was made before its work was counted."""
        return (Spent(images=sum(map(context.images_trained_on, self.named("stage")))),)
