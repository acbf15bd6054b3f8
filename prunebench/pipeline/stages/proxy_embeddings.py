"""Stage: the embeddings of the proxy network. Also chooses the embeddings that a part reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from prunebench.parts.artefacts import Embeddings, Weights
from prunebench.parts.base import PROXY, Part, reader
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.pooled_embeddings import embeddings_of_split
from prunebench.pipeline.stages.sight import seen_by_proxy, sight
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class ProxyEmbeddings(Stage):
    """Runs the trained proxy network over the training images.

    recipe: how it trained.
    precision: in which a GPU computes it, that of the recipe. None: IEEE float32.
    """

    kind: ClassVar[str] = "proxy_embeddings"

    recipe: Identity
    precision: str | None = None

    @classmethod
    def of(cls, plan: Plan, cell: Cell, dynamics: Input) -> ProxyEmbeddings:
        """Return the embeddings of the network that made the dynamics."""
        inputs = (Input("weights", dynamics.source), *seen_by_proxy(plan, cell))
        return plan.add(
            cls,
            cell,
            inputs,
            title="the proxy network",
            on_device=True,
            recipe=plan.recipe(plan.proxy(cell.recipe)),
            precision=cell.recipe.rounding,
        )

    def compute(self, context: Context) -> tuple[Embeddings]:
        """Return the penultimate features of all training images."""
        from prunebench.nn import training

        images, recipe = sight(self, self.recipe, context)
        weights = context.read(self.named("weights")[0], Weights)
        network = context.network(weights.network, weights.values, images, recipe.side)
        values = training.embed(
            network,
            images,
            device=context.device,
            side=recipe.side,
            progress=context.progress,
            precision=context.precision(self.precision),
        )
        return (Embeddings(values=values),)


def embeddings_of(plan: Plan, cell: Cell, part: Part, available: Sequence[Input]) -> tuple[Input, ...]:
    """Return the embeddings of the backbones of a part, numbered in their order. Empty if it reads none."""
    if "embeddings" not in plan.needs(part):
        return ()
    backbone = reader(part).backbone  # type: ignore[attr-defined]
    backbones = backbone if isinstance(backbone, tuple) else (backbone,)
    return tuple(_numbered(plan, cell, backbones, available))


def _numbered(
    plan: Plan, cell: Cell, backbones: Sequence[object], available: Sequence[Input]
) -> Iterator[Input]:
    for position, backbone in enumerate(backbones):
        if backbone == PROXY:
            dynamics = next(item for item in available if item.name == "dynamics")
            yield Input("embeddings", ProxyEmbeddings.of(plan, cell, dynamics), position)
        else:
            yield Input("embeddings", embeddings_of_split(plan, cell, backbone), position)  # type: ignore[arg-type]
