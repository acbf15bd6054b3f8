"""Stage: the embeddings of a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from prunebench.parts.artefacts import Embeddings
from prunebench.parts.base import Backbone
from prunebench.pipeline.context import Context
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class BackboneEmbeddings(PartStage):
    """Runs a backbone over the training images."""

    kind: ClassVar[str] = "embeddings"

    @classmethod
    def of(cls, plan: Plan, cell: Cell, backbone: Backbone) -> Self:
        """Return the embeddings of a backbone."""
        return cls.planned(plan, cell, backbone, (), cell.repeat("labeler"))

    def compute(self, context: Context) -> tuple[Embeddings]:
        """Return one vector per training image. Errors are those of `embedded`."""
        call = Call(self, context)
        return (embedded(call, call.arguments(), len(context.images)),)


def embedded(call: Call, arguments: Mapping[str, Any], images: int) -> Embeddings:
    """Call a backbone and return one vector per image.

    images: the number of images.

    Raise PrunebenchError if the backbone returns another shape or values that are not finite in float32.
    """
    values = np.asarray(call(arguments))
    if values.ndim != 2 or len(values) != images or not values.shape[1]:
        raise call.bug(f"returned embeddings of shape {values.shape}, expected [{images}, d]")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        embeddings = Embeddings(values=values)
    if not np.isfinite(embeddings.values).all():
        raise call.bug("returned embeddings that are not finite in float32")
    return embeddings
