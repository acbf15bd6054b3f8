"""Stage: the embeddings of the test split, for final networks on frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.parts.artefacts import Embeddings
from prunebench.parts.images import Handed
from prunebench.pipeline.context import Context
from prunebench.pipeline.part_stage import Call
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings, embedded


@dataclass(frozen=True, eq=False, kw_only=True)
class TestSplitEmbeddings(BackboneEmbeddings):
    """Runs a frozen backbone over the images of the test split. Only the test of a network reads them."""

    kind: ClassVar[str] = "test_embeddings"

    def compute(self, context: Context) -> tuple[Embeddings]:
        """Return one vector per image of the test split. Errors are those of `embedded`."""
        images = context.test[0]
        call = Call(self, context)
        return (embedded(call, call.arguments(images=Handed(images)), len(images)),)
