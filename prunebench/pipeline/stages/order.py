"""Stage: the images to label first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Array, Groups, Order
from prunebench.parts.base import Draw
from prunebench.parts.images import sliced
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.part_stage import Call, PartStage, described
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnOrder(PartStage):
    """Asks a draw which images to label first. It sees one image of each group of duplicates.

    count: the number of images to draw.
    """

    kind: ClassVar[str] = "order"

    count: int

    @classmethod
    def of(cls, plan: Plan, cell: Cell, draw: Draw, count: int, duplicates: Stage) -> DrawnOrder:
        """Return the draw of `count` images of a cell's dataset, with the cell's seed.

        duplicates: the stage that finds them.
        """
        inputs = (Input("duplicates", duplicates), *embeddings_of(plan, cell, draw, ()))
        return cls.planned(plan, cell, draw, inputs, cell.seed, also=("duplicates",), count=count)

    def compute(self, context: Context) -> tuple[Order]:
        """Return the drawn images. Raise PrunebenchError unless they are `count` distinct indices."""
        call = Call(self, context)
        groups = call.one("duplicates", Groups).values
        distinct = firsts(groups)
        images = len(distinct)
        arguments = call.arguments(count=self.count)
        index = np.asarray(call(arguments if images == len(groups) else sliced(arguments, distinct)))
        right = index.shape == (self.count,) and index.dtype.kind in "iu"
        if not right or len(np.unique(index)) < self.count or index.min() < 0 or index.max() >= images:
            expected = f"{self.count} distinct indices in 0..{images - 1}"
            raise call.bug(f"must return {expected}, got {described(index)}")
        return (Order(images=len(groups), index=distinct[index]),)


def firsts(groups: Array) -> Array:
    """Return the first image of each group: int64 [m], ascending. groups: int [n]."""
    return np.sort(np.unique(groups, return_index=True)[1])
