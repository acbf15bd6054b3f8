"""Stage: a subset that a search tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Labels, Subset
from prunebench.parts.sampling import draw_labels, kept, share
from prunebench.pipeline.context import Context, stream
from prunebench.pipeline.job import Input, Seed
from prunebench.pipeline.part_stage import Call, PartStage
from prunebench.pipeline.plan import Plan, seed_of, spelled, upstream_repeat
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.pipeline.stages.selecting import select
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import HELD_OUT


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate(PartStage):
    """Asks a selector for a subset of the images that are not held out.

    pruned: percent.
    held_out: the share of the labelled images to validate on; 0 for an oracle.
    split: the seed by which these are drawn.
    """

    kind: ClassVar[str] = "candidate"
    instant: ClassVar[bool] = True

    pruned: int
    held_out: float
    split: Seed | None = None

    @classmethod
    def of(cls, plan: Plan, trial: Cell, available: Sequence[Input], field: str) -> Candidate:
        """Return the candidate of a cell with one value of a field.

        The held-out images are drawn by label, whether or not the selector looks at labels.
        """
        searching = trial.tuning == "search"
        selector = trial.selector
        read = (*available, *embeddings_of(plan, trial, selector, available))
        return cls.planned(
            plan,
            trial,
            selector,
            read,
            upstream_repeat(trial),
            also=("labels",),
            ratio=trial.ratio,
            title=spelled(selector, {field: "tried"}),
            pruned=trial.ratio,
            held_out=HELD_OUT if searching else 0.0,
            split=seed_of("split", 0) if searching else None,
        )

    def compute(self, context: Context) -> tuple[Subset]:
        """Return the kept images."""
        images = len(context.images)
        labels = context.read(self.named("labels")[0], Labels)
        pool = np.setdiff1d(np.arange(images), held_out(labels, self.held_out, self.split))
        index = select(Call(self, context), kept(len(pool), self.pruned), pool)
        return (Subset(images=images, index=index),)


def held_out(labels: Labels, part: float, split: Seed | None) -> Array:
    """Return the images to validate on: such a part of each label; none for an oracle.

    Annotated and guessed labels are drawn apart. So what is left is still as much annotated as the whole, and
    a selector that keeps all annotated images still can. Raise PrunebenchError where no image has a label.
    """
    if split is None:
        return np.arange(0)
    rng, drawn = stream(split), [np.arange(0)]
    for annotated in (True, False):
        these = np.flatnonzero((labels.values >= 0) & (labels.annotated == annotated))
        if len(these):
            count = _count(len(these), part, annotated)
            drawn.append(these[draw_labels(labels.values[these], count / len(these), "stratified", rng)])
    found = np.sort(np.concatenate(drawn))
    if not len(found):
        raise PrunebenchError("no image has a label, so none can be held out for the search")
    return found


def _count(images: int, part: float, annotated: bool) -> int:
    """Return how many of these images are held out.

    Rounded up among the annotated ones: else one too many could be left for who keeps them all.
    """
    return int(np.ceil(images * part - 1e-9)) if annotated else share(images, part)
