"""Stage: the scores of a scorer. Also plans all stages before the selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.parts.artefacts import Dynamics, Scores
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan
from prunebench.pipeline.stages.given import annotated_labels
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.pipeline.stages.sight import seen_by_proxy
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class ScorerScores(PartStage):
    """Asks a scorer for one score per image."""

    kind: ClassVar[str] = "scores"

    def compute(self, context: Context) -> tuple[Scores]:
        """Return one score per image.

        A scorer may score only the images in its dynamics. All others get the mean score.
        Raise PrunebenchError if it returns another shape, or values that are not finite numbers.
        """
        call = Call(self, context)
        images = len(context.images)
        arguments = call.arguments()
        values = np.asarray(call(arguments))
        if values.dtype.kind not in "fiub":
            raise call.bug("returned scores that are not numbers")
        dynamics: Dynamics | None = arguments.get("dynamics")
        if dynamics is not None and values.shape == dynamics.index.shape and len(values) < images:
            all_values = np.full(images, values.mean())
            all_values[dynamics.index] = values
            values = all_values
        if values.shape != (images,):
            raise call.bug(f"returned scores of shape {values.shape}, expected [{images}]")
        if not np.isfinite(values).all():
            raise call.bug(f"returned {np.count_nonzero(~np.isfinite(values))} scores that are not finite")
        return (Scores(values=values),)


def upstream(plan: Plan, cell: Cell, choices: Sequence[Input] = ()) -> tuple[Input, ...]:
    """Return the inputs that a selector may read.

    These are the choices, then known_labels, labels, dynamics, weights and scores, if the method has them.
    If proxy networks see embeddings, these are among them too.

    choices: the choices of searches for fields of the scorer.
    """
    chosen = [(choice.of, choice.source.key) for choice in choices]
    return plan.shared(
        cell, lambda: _upstream(plan, cell, choices), cell.tuning, cell.repeats, cell.repeat("proxy"), *chosen
    )


def _upstream(plan: Plan, cell: Cell, choices: Sequence[Input]) -> tuple[Input, ...]:
    method = cell.method
    inputs = list(choices)
    if method.labeler is not None:
        labels = Input("labels", LabelerLabels.of(plan, cell, method.labeler))
        known_labels = Input("known_labels", annotated_labels(plan, cell, method.labeler))
        proxy = Proxy.of(plan, cell, labels)
        inputs += [known_labels, labels, Input("dynamics", proxy), Input("weights", proxy)]
    inputs += seen_by_proxy(plan, cell)
    if method.scorer is not None:
        available = (*inputs, *embeddings_of(plan, cell, method.scorer, inputs))
        scores = ScorerScores.planned(plan, cell, method.scorer, available, cell.repeat("proxy"))
        inputs.append(Input("scores", scores))
    return tuple(inputs)
