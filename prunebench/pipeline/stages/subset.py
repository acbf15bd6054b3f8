"""Stage: the images that are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from prunebench.parts.artefacts import Labels, Subset
from prunebench.parts.base import Part
from prunebench.parts.sampling import kept
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.choice import choices
from prunebench.pipeline.stages.given import annotated_labels
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.pipeline.stages.scores import upstream
from prunebench.pipeline.stages.selecting import select
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class SelectorSubset(PartStage):
    """Asks a selector for a subset of all training images.

    pruned: the percent of images to prune, or None.
    keep: the exact number of images to keep, or None.

    If both are None, it keeps as many images as another method has labels in all: those annotated before its
    selection, and those of its subset. The inputs `annotated` and `matched_to` hold these.
    """

    kind: ClassVar[str] = "subset"
    instant: ClassVar[bool] = True

    pruned: int | None = None
    keep: int | None = None

    @classmethod
    def of(cls, plan: Plan, cell: Cell) -> SelectorSubset:
        """Return the selection of a cell."""
        selector = plan.shared(cell, lambda: cell.selector, cell.ratio)
        if cell.method.matched_to is not None and cell.method.timed_to is None:
            return cls._matched(plan, cell, selector)
        available = upstream(plan, cell, choices(plan, cell))
        inputs = (*available, *embeddings_of(plan, cell, selector, available))
        pruned = cell.ratio if cell.keep is None else None
        ratio = cell.ratio
        return cls.planned(
            plan, cell, selector, inputs, cell.seed, ratio=ratio, pruned=pruned, keep=cell.keep
        )

    @classmethod
    def _matched(cls, plan: Plan, cell: Cell, selector: Part) -> SelectorSubset:
        """Return the selection of as many images as another method has labels in all."""
        method = cell.method.matched_to
        assert method is not None and method.labeler is not None
        other = replace(cell, method=method)
        inputs = (
            Input("matched_to", cls.of(plan, other)),
            Input("annotated", annotated_labels(plan, other, method.labeler)),
        )
        also = ("matched_to", "annotated")
        return cls.planned(plan, cell, selector, inputs, cell.seed, also=also, ratio=cell.ratio)

    def compute(self, context: Context) -> tuple[Subset]:
        """Return the kept images."""
        images = len(context.images)
        index = select(Call(self, context), self._size(context, images))
        return (Subset(images=images, index=index),)

    def _size(self, context: Context, images: int) -> int:
        """Return the number of images to keep."""
        if self.keep is not None:
            return self.keep
        if self.pruned is not None:
            return kept(images, self.pruned)
        labeled = context.read(self.named("annotated")[0], Labels).annotated.copy()
        labeled[context.read(self.named("matched_to")[0], Subset).index] = True
        return int(labeled.sum())
