"""Stage: the training of a proxy network on the labels, with its dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Dynamics, Labels, Weights
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan, seed_of
from prunebench.pipeline.stages.sight import Training, seen_by_proxy, sight, title_of
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class Proxy(Training):
    """Trains the proxy network on the labeled images. Keeps its training dynamics and final weights."""

    kind: ClassVar[str] = "dynamics"
    version: ClassVar[int] = 2

    @classmethod
    def of(cls, plan: Plan, cell: Cell, labels: Input) -> Proxy:
        """Return the training on some labels."""
        recipe = plan.proxy(cell.recipe)
        return plan.add(
            cls,
            cell,
            (labels, *seen_by_proxy(plan, cell)),
            title=title_of(recipe, cell.proxy_backbone),
            on_device=True,
            recipe=plan.recipe(recipe),
            seed=seed_of("dynamics", cell.repeat("proxy")),
        )

    def compute(self, context: Context) -> tuple[Dynamics, Weights]:
        """Return dynamics and final weights. Raise PrunebenchError if no image has a label."""
        from prunebench.nn import networks

        labels = context.read(self.named("labels")[0], Labels).values
        index = np.flatnonzero(labels >= 0)
        if not len(index):
            raise PrunebenchError(
                f"no image of {context.dataset.name} has a label, so no proxy network can train; "
                "choose a labeler with labels, or a scorer that needs no dynamics"
            )
        images, recipe = sight(self, self.recipe, context)
        trained = context.train(images, labels, recipe, self.seed, index=index, record=True)
        assert trained.dynamics is not None
        weights = Weights(network=recipe.network, values=networks.state(trained.network))
        return trained.dynamics, weights
