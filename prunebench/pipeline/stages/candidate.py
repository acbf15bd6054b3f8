"""Stage: a subset for one value that a search tries."""

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
from prunebench.pipeline.plan import Plan, seed_of, spelled
from prunebench.pipeline.stages.proxy_embeddings import embeddings_of
from prunebench.pipeline.stages.selecting import select
from prunebench.suites.cells import Cell
from prunebench.suites.tuning import HELD_OUT


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate(PartStage):
    """Asks a selector for a subset of the images that are not held out.

    pruned: the percent of images to prune.
    held_out: the share of labeled images to validate on, in 0..1. 0 for an oracle, which has the test split.
    split: the seed of the held-out images, or None for an oracle.
    """

    kind: ClassVar[str] = "candidate"
    instant: ClassVar[bool] = True

    pruned: int
    held_out: float
    split: Seed | None = None

    @classmethod
    def of(cls, plan: Plan, trial: Cell, available: Sequence[Input], field: str) -> Candidate:
        """Return the candidate of a cell with one value of a field.

        It always reads the labels, because the held-out images are drawn per label.
        """
        searching = trial.tuning == "search"  # else an oracle, which holds nothing out
        selector = trial.selector
        inputs = (*available, *embeddings_of(plan, trial, selector, available))
        return cls.planned(
            plan,
            trial,
            selector,
            inputs,
            trial.repeat("proxy"),
            also=("labels",),
            ratio=trial.ratio,
            title=spelled(selector, {field: "tried"}),
            pruned=trial.ratio,
            held_out=HELD_OUT if searching else 0.0,
            split=seed_of("split", 0) if searching else None,
        )

    def compute(self, context: Context) -> tuple[Subset]:
        """Return the kept images, as indices into all training images."""
        images = len(context.images)
        labels = context.read(self.named("labels")[0], Labels)
        pool = np.setdiff1d(np.arange(images), held_out(labels, self.held_out, self.split))
        index = select(Call(self, context), kept(len(pool), self.pruned), pool)
        return (Subset(images=images, index=index),)


def held_out(labels: Labels, fraction: float, split: Seed | None) -> Array:
    """Return the indices of the images to validate on, ascending. Empty for an oracle.

    labels: the labels of all images.
    fraction: the share to draw of each label, in 0..1.
    split: the seed of the draw, or None for an oracle.

    Annotated labels and pseudo-labels are drawn separately. The share of annotated images stays the same, so
    a selector that keeps all of them still can.
    Raise PrunebenchError if no image has a label.
    """
    if split is None:
        return np.arange(0)
    rng = stream(split)
    drawn = [np.arange(0)]
    for annotated in (True, False):
        members = np.flatnonzero((labels.values >= 0) & (labels.annotated == annotated))
        if len(members):
            share_drawn = _count(len(members), fraction, annotated) / len(members)
            drawn.append(members[draw_labels(labels.values[members], share_drawn, "stratified", rng)])
    index = np.sort(np.concatenate(drawn))
    if not len(index):
        raise PrunebenchError("no image has a label, so none can be held out for the search")
    return index


def _count(images: int, fraction: float, annotated: bool) -> int:
    """Return the number of images to hold out.

    It is rounded up for annotated images. Otherwise one more could be left than a selector that keeps all of
    them has room for.
    """
    if annotated:
        return int(np.ceil(images * fraction - 1e-9))
    return share(images, fraction)
