"""Stage: the labels that were bought elsewhere, as the labeler says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Labels
from prunebench.parts.base import Labeler
from prunebench.pipeline.context import Context
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.known import Known, revealed, there
from prunebench.suites.cells import Cell
from prunebench.system.isolation import at_work


@dataclass(frozen=True, eq=False, kw_only=True)
class Given(PartStage):
    """Reveals the labels that somebody bought before: the labeler says which they are."""

    kind: ClassVar[str] = "given"
    instant: ClassVar[bool] = True

    def compute(self, context: Context) -> tuple[Labels]:
        """Return the bought labels, and -1 for all other images."""
        truth = context.truth
        index = there(truth)
        if len(index) == len(truth):
            index = self._bought(context)
        return (revealed(truth, index),)

    def _bought(self, context: Context) -> Array:
        """Return the images that the labeler names. Raise PrunebenchError where these are none of ours."""
        call = Call(self, context)
        images = len(context.truth)
        assert isinstance(call.part, Labeler)
        with at_work(call.who):
            index = np.asarray(call.part.bought(images, context.names))
        if not np.isin(index, np.arange(images)).all() or len(np.unique(index)) != index.size:
            raise call.bug(f"says it bought something else than unique indices in 0..{images - 1}")
        return index


def bought(plan: Plan, cell: Cell, labeler: Labeler) -> Known | Given:
    """Return the stage of the labels that a labeler buys: drawn, or given."""
    if labeler.sampling == "given" and 0 < labeler.annotation < 1:
        title = f"{labeler.annotation:.0%} of the labels, given"
        return plan.add(Given, cell, title=title, part=plan.identity(labeler))
    return Known.planned(plan, cell, labeler)
