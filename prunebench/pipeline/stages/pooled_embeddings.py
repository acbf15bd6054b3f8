"""Stage: the embeddings of a split, taken from those of the images that all splits are taken from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Embeddings
from prunebench.parts.base import Backbone
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.embeddings_of_test import TestSplitEmbeddings
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class PooledEmbeddings(Stage):
    """Takes the embeddings of a split from those of the pool of its dataset.

    split: "train" or "test".
    """

    kind: ClassVar[str] = "pooled_embeddings"
    version: ClassVar[int] = 2  # before, the split of photos in groups could be that of another process
    instant: ClassVar[bool] = True

    split: str

    def compute(self, context: Context) -> tuple[Embeddings]:
        """Return one vector per image of the split."""
        values = context.read(self.named("pool")[0], Embeddings).values
        return (Embeddings(values=values[context.dataset.places(context.data, self.split)]),)


def embeddings_of_split(plan: Plan, cell: Cell, backbone: Backbone, split: str = "train") -> Stage:
    """Return the embeddings of a split, "train" or "test".

    If the dataset has a pool, a frozen backbone embeds that once, whatever becomes of labels and splits.

    Raise PrunebenchError if the backbone knows images by their names, and those of the test split have none.
    """
    pool = cell.dataset.pool
    if pool is None or not backbone.frozen:
        if split == "test" and "names" in backbone.needs():
            raise PrunebenchError(
                f"recipe.final_backbone is {backbone.name!r}, which knows images by name, but the test "
                f"images of {cell.dataset.name} have no names; choose another. See: prunebench list backbones"
            )
        kind = BackboneEmbeddings if split == "train" else TestSplitEmbeddings
        return kind.of(plan, cell, backbone)
    of_pool = BackboneEmbeddings.of(plan, replace(cell, dataset=pool.dataset), backbone)
    if pool.all and split == "train":
        return of_pool
    title = f"{of_pool.title}, {split}"
    return plan.add(PooledEmbeddings, cell, (Input("pool", of_pool),), title=title, split=split)
