"""Stage: what a scorer says of each image; and all that comes before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Dynamics, Scores
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan, upstream_repeat
from prunebench.pipeline.stages.given import bought
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class ScorerScores(PartStage):
    """Asks a scorer."""

    kind: ClassVar[str] = "scores"

    def compute(self, context: Context) -> tuple[Scores]:
        """Return one finite number per image; those its dynamics never saw get the mean of those they did."""
        call, images = Call(self, context), len(context.images)
        arguments = call.arguments()
        values = np.asarray(call(arguments))
        if values.dtype.kind not in "fiub":
            raise call.bug("returned scores that are not numbers")
        dynamics: Dynamics | None = arguments.get("dynamics")
        if dynamics is not None and values.shape == dynamics.index.shape and len(values) < images:
            seen, values = values, np.full(images, values.mean())
            values[dynamics.index] = seen
        if values.shape != (images,):
            raise call.bug(f"returned scores of shape {values.shape}, expected [{images}]")
        if not np.isfinite(values).all():
            raise call.bug(f"returned {np.count_nonzero(~np.isfinite(values))} scores that are not finite")
        return (Scores(values=values),)


def upstream(plan: Plan, cell: Cell, choices: Sequence[Input] = ()) -> tuple[Input, ...]:
    """Return what a selector may read: known, labels, dynamics and scores, as far as the method has them.

    choices: what searches chose for fields of the scorer.
    """
    place = cell.tuning, upstream_repeat(cell), *((c.of, c.source.key) for c in choices)
    return plan.shared(cell, lambda: _upstream(plan, cell, choices), *place)


def _upstream(plan: Plan, cell: Cell, choices: Sequence[Input]) -> tuple[Input, ...]:
    method, found = cell.method, [*choices]
    if method.labeler is not None:
        labels = LabelerLabels.of(plan, cell, method.labeler)
        found.append(Input("known", bought(plan, cell, method.labeler)))
        found.append(Input("labels", labels))
        proxy = Proxy.of(plan, cell, found[-1])
        found += [Input("dynamics", proxy), Input("weights", proxy)]
    if method.scorer is not None:
        available = (*found, *embeddings_of(plan, cell, method.scorer, found))
        scores = ScorerScores.planned(plan, cell, method.scorer, available, upstream_repeat(cell))
        found.append(Input("scores", scores))
    return tuple(found)
