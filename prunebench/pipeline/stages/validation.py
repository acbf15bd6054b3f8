"""Stage: the accuracy of a network that trains on a candidate."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import ClassVar

from prunebench.parts.artefacts import Labels, Subset, Validation
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input, Seed
from prunebench.pipeline.plan import Plan, seed_of
from prunebench.pipeline.stages.candidate import Candidate, held_out
from prunebench.pipeline.stages.sight import (
    Training,
    finetuned,
    seen_by_final,
    sight,
    sight_in_test,
    title_of,
)
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateValidation(Training):
    """Trains a network on a candidate, and tests it on the held-out images.

    A search uses only the labeler's labels. An oracle uses the true labels and the test split.

    held_out: the share of labeled images to test on, as in the candidate.
    split: the seed of the held-out images, as in the candidate. None for an oracle.
    """

    kind: ClassVar[str] = "validation"

    held_out: float
    split: Seed | None = None

    @classmethod
    def of(cls, plan: Plan, trial: Cell, candidate: Candidate, field: str) -> CandidateValidation:
        """Return the validation of a candidate with one value of a field."""
        recipe = trial.recipe.selecting()
        return plan.add(
            cls,
            trial,
            (
                Input("candidate", candidate),
                *candidate.named("labels"),
                *seen_by_final(plan, trial, test=candidate.split is None),
            ),
            title=f"{title_of(recipe, trial.final_backbone)}, trying {field}",
            ratio=candidate.ratio,
            on_device=True,
            recipe=recipe.identity(),
            seed=seed_of("validation", 0),
            backbone=finetuned(plan, trial),
            held_out=candidate.held_out,
            split=candidate.split,
        )

    def compute(self, context: Context) -> tuple[Validation]:
        """Return the accuracy of the last epoch, or 0 if fewer than two images can be trained on."""
        candidate = context.read(self.named("candidate")[0], Subset)
        labels = context.read(self.named("labels")[0], Labels)
        tested = held_out(labels, self.held_out, self.split)
        images, recipe = sight(self, self.recipe, context)
        index = candidate.index
        if self.split is None:
            values = context.truth
            test = sight_in_test(self, context), context.test[1]
        else:
            values = labels.values
            index = index[values[index] >= 0]
            test = images.take(tested), values[tested]
        if len(index) < 2:  # nothing to train on, so the value gets the worst accuracy
            return (Validation(accuracy=0.0),)
        pool = candidate.images - len(tested)
        recipe = recipe.at(100 * (pool - len(candidate)) // pool)
        last = replace(recipe, evaluate_every=sys.maxsize)  # only the last epoch counts
        trained = context.train(images, values, last, self.seed, index=index, test=test, body=self.body)
        return (Validation(accuracy=trained.history[-1][1]),)
