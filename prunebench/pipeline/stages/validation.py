"""Stage: how well a network does that trains on a candidate."""

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
    """Trains on a candidate and tests it: with the labeler's labels alone, or as an oracle with the truth.

    recipe, seed: of the training. held_out, split: the candidate's.
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
        """Return the accuracy of the last epoch."""
        candidate = context.read(self.named("candidate")[0], Subset)
        given = context.read(self.named("labels")[0], Labels)
        labels, index = given.values, candidate.index
        tested = held_out(given, self.held_out, self.split)
        if self.split is None:
            labels, test = context.truth, context.test
        else:
            index = index[labels[index] >= 0]
            test = context.images.take(tested), labels[tested]
        if len(index) < 2:  # the worst that can be said of a value: nothing it keeps can be trained on
            return (Validation(accuracy=0.0),)
        pool = candidate.images - len(tested)
        recipe = construct(Recipe, self.recipe, "recipe").at(100 * (pool - len(candidate)) // pool)
        last = replace(recipe, evaluate_every=sys.maxsize)  # no epoch before it counts
        trained = context.train(context.images, labels, last, self.seed, index=index, test=test)
        return (Validation(accuracy=trained.history[-1][1]),)
