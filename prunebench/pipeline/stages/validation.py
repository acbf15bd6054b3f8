"""Stage: the accuracy of a network that trains on a candidate."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import ClassVar

from prunebench.parts.artefacts import Labels, Subset, Validation
from prunebench.parts.identity import construct
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input, Seed
from prunebench.pipeline.plan import Plan, seed_of, training_title
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.candidate import Candidate, held_out
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateValidation(Stage):
    """Trains a network on a candidate, and tests it on the held-out images.

    A search uses only the labeler's labels. An oracle uses the true labels and the test split.

    recipe: how it trains.
    seed: the seed of the initial weights and of the order of images.
    held_out: the share of labeled images to test on, as in the candidate.
    split: the seed of the held-out images, as in the candidate. None for an oracle.
    """

    kind: ClassVar[str] = "validation"

    recipe: Identity
    seed: Seed
    held_out: float
    split: Seed | None = None

    @classmethod
    def of(cls, plan: Plan, trial: Cell, candidate: Candidate, field: str) -> CandidateValidation:
        """Return the validation of a candidate with one value of a field."""
        recipe = trial.recipe.final()
        return plan.add(
            cls,
            trial,
            (Input("candidate", candidate), *candidate.named("labels")),
            title=f"{training_title(recipe)}, trying {field}",
            ratio=candidate.ratio,
            recipe=recipe.identity(),
            seed=seed_of("validation", 0),
            held_out=candidate.held_out,
            split=candidate.split,
        )

    @property
    def training(self) -> Identity:
        """The recipe."""
        return self.recipe

    def compute(self, context: Context) -> tuple[Validation]:
        """Return the accuracy of the last epoch, or 0 if fewer than two images can be trained on."""
        candidate = context.read(self.named("candidate")[0], Subset)
        labels = context.read(self.named("labels")[0], Labels)
        tested = held_out(labels, self.held_out, self.split)
        index = candidate.index
        if self.split is None:
            values = context.truth
            test = context.test
        else:
            values = labels.values
            index = index[values[index] >= 0]
            test = context.images.take(tested), values[tested]
        if len(index) < 2:  # nothing to train on, so the value gets the worst accuracy
            return (Validation(accuracy=0.0),)
        pool = candidate.images - len(tested)
        recipe = construct(Recipe, self.recipe, "recipe").at(100 * (pool - len(candidate)) // pool)
        last = replace(recipe, evaluate_every=sys.maxsize)  # only the last epoch counts
        trained = context.train(context.images, values, last, self.seed, index=index, test=test)
        return (Validation(accuracy=trained.history[-1][1]),)
