"""Stage: what a network trained on the kept images achieves on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Accuracy, Array, Labels, Subset
from prunebench.parts.identity import construct
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input, Seed
from prunebench.pipeline.plan import Plan, seed_of, training_title
from prunebench.pipeline.stage import Stage
from prunebench.suites.cells import Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedAccuracy(Stage):
    """Trains from scratch on a subset: with its true labels or, where they are an input, the labeler's.

    recipe: how it trains. seed: of weights and order.
    """

    kind: ClassVar[str] = "accuracy"

    recipe: Identity
    seed: Seed

    @classmethod
    def of(cls, plan: Plan, cell: Cell, inputs: Sequence[Input]) -> TrainedAccuracy:
        """Return the final training of a cell."""
        recipe = plan.final(cell.recipe)
        return plan.add(
            cls,
            cell,
            inputs,
            title=training_title(recipe),
            ratio=cell.ratio,
            recipe=plan.recipe(recipe),
            seed=seed_of("accuracy", cell.seed),
        )

    @property
    def training(self) -> Identity:
        """The recipe."""
        return self.recipe

    def compute(self, context: Context) -> tuple[Accuracy]:
        """Return the accuracy of the last epoch, and what else is said of it."""
        subset = context.read(self.named("subset")[0], Subset)
        labels, index = context.truth, subset.index
        if given := self.named("labels"):
            labels = with_classes(context.read(given[0], Labels), "train on").values
            index = index[labels[index] >= 0]
        recipe = construct(Recipe, self.recipe, "recipe").at(
            100 * (subset.images - len(subset)) // subset.images
        )
        trained = context.train(context.images, labels, recipe, self.seed, index=index, test=context.test)
        assert trained.predictions is not None
        return (measured(context, subset, trained.predictions, trained.history),)


def with_classes(labels: Labels, purpose: str) -> Labels:
    """Return labels. Raise PrunebenchError where they are clusters."""
    if labels.space != "class":
        raise PrunebenchError(f"cannot {purpose} the labeler's clusters: nothing says which class is which")
    return labels


def measured(
    context: Context, subset: Subset, predictions: Array, history: Sequence[tuple[int, float]]
) -> Accuracy:
    """Return what predictions of the test images are worth. history: (epoch, percent) of looks in between."""
    classes, truth = len(context.classes), context.test[1]
    correct = predictions == truth
    sizes = np.bincount(truth, minlength=classes)
    recalls = np.bincount(truth, weights=correct, minlength=classes)[sizes > 0] / sizes[sizes > 0]
    worst = np.sort(recalls)[: max(1, len(recalls) // 10)]
    accuracy = 100 * float(correct.mean())
    return Accuracy(
        predictions=predictions,
        accuracy=accuracy,
        best_accuracy=max((percent for _, percent in history), default=accuracy),
        balanced_accuracy=100 * float(recalls.mean()),
        worst_decile_recall=100 * float(worst.mean()),
        history=[[epoch, percent] for epoch, percent in history],
        kept_per_class=np.bincount(context.truth[subset.index], minlength=classes).tolist(),
    )
