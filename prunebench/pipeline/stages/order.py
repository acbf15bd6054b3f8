"""Stage: the images to label first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Order
from prunebench.parts.base import Draw
from prunebench.pipeline.context import Context
from prunebench.pipeline.part_stage import Call, PartStage, described
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnOrder(PartStage):
    """Asks a draw which images to label first.

    count: the number of images to draw.
    """

    kind: ClassVar[str] = "order"

    count: int

    @classmethod
    def of(cls, plan: Plan, cell: Cell, draw: Draw, count: int) -> DrawnOrder:
        """Return the draw of `count` images of a cell's dataset, with the cell's seed."""
        return cls.planned(plan, cell, draw, embeddings_of(plan, cell, draw, ()), cell.seed, count=count)

    def compute(self, context: Context) -> tuple[Order]:
        """Return the drawn images. Raise PrunebenchError unless they are `count` distinct indices."""
        images = len(context.images)
        call = Call(self, context)
        index = np.asarray(call(call.arguments(count=self.count)))
        right = index.shape == (self.count,) and index.dtype.kind in "iu"
        if not right or len(np.unique(index)) < self.count or index.min() < 0 or index.max() >= images:
            expected = f"{self.count} distinct indices in 0..{images - 1}"
            raise call.bug(f"must return {expected}, got {described(index)}")
        return (Order(images=images, index=index),)
