"""Stage: the test accuracy of a network trained on the kept images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Accuracy, Array, Artefact, Labels, Spent, Subset
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Input
from prunebench.pipeline.plan import Plan, seed_of
from prunebench.pipeline.stage import SPENT
from prunebench.pipeline.stages.examining import examine
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
class TrainedAccuracy(Training):
    """Trains a network on the subset, and tests it, as often as its exams ask for.

    It trains on the labeler's labels if these are an input, else on the true labels. It sees the embeddings
    of a backbone if these are an input, else the images. If the work of another selection is an input, it
    trains that much longer.

    tests: further tests of the network, or None. See `prunebench.suites.exams`.
    """

    kind: ClassVar[str] = "accuracy"

    tests: list[str] | None = None

    @classmethod
    def of(
        cls, plan: Plan, cell: Cell, inputs: Sequence[Input], network: str | None = None
    ) -> TrainedAccuracy:
        """Return the final training of a cell.

        network: the name of another network than the recipe's, which sits no tests but that of its accuracy.
        """
        recipe = plan.final(cell.recipe) if network is None else plan.transferred(cell.recipe)(network)
        tests = [*cell.exams.tests] if network is None else []
        timed = any(item.name == SPENT for item in inputs)
        return plan.add(
            cls,
            cell,
            (*inputs, *seen_by_final(plan, cell, test=True)),
            title=title_of(recipe, cell.final_backbone) + (" and more" if timed else ""),
            ratio=cell.ratio,
            on_device=True,
            recipe=plan.recipe(recipe),
            seed=seed_of("accuracy", cell.seed),
            backbone=finetuned(plan, cell),
            tests=tests or None,
        )

    def compute(self, context: Context) -> tuple[Artefact, ...]:
        """Return the accuracy of the last epoch, with further metrics, and what further tests found.

        Raise PrunebenchError if the network would train on labels that are clusters.
        """
        subset = context.read(self.named("subset")[0], Subset)
        labels = context.truth
        index = subset.index
        pseudo_labels = self.named("labels")
        if pseudo_labels:
            labels = with_classes(context.read(pseudo_labels[0], Labels), "train on").values
            index = index[labels[index] >= 0]
        pruned_percent = 100 * (subset.images - len(subset)) // subset.images
        images, recipe = sight(self, self.recipe, context)
        test = sight_in_test(self, context), context.test[1]
        recipe = self._longer(recipe.at(pruned_percent), context, len(index))
        trained = context.train(images, labels, recipe, self.seed, index=index, test=test, body=self.body)
        assert trained.predictions is not None
        accuracy = measured(context, subset, trained.predictions, trained.history)
        if not self.tests:
            return (accuracy,)
        return accuracy, examine(self.tests, context.logits_of(trained.network, recipe), *test)

    def _longer(self, recipe: Recipe, context: Context, images: int) -> Recipe:
        """Return a recipe with as many more steps as show the images that another selection trained on."""
        from prunebench.nn.training import batch_bounds

        spent = self.named(SPENT)
        if not spent or not images:  # on no image nothing trains, which the training says
            return recipe
        per_epoch = len(batch_bounds(images, recipe.batch)) - 1
        more = context.read(spent[0], Spent).images / images * per_epoch
        return replace(recipe, iterations=(recipe.iterations or recipe.epochs * per_epoch) + round(more))


def with_classes(labels: Labels, purpose: str) -> Labels:
    """Return `labels`. Raise PrunebenchError if they are clusters. purpose: a verb, for the message."""
    if labels.space != "class":
        raise PrunebenchError(f"cannot {purpose} the labeler's clusters: nothing says which class is which")
    return labels


def measured(
    context: Context, subset: Subset, predictions: Array, history: Sequence[tuple[int, float]]
) -> Accuracy:
    """Return the metrics of predictions on the test split.

    predictions: predicted classes, int [test images].
    history: (epoch, percent) of the evaluations during training.
    """
    classes = len(context.classes)
    truth = context.test[1]
    correct = predictions == truth
    sizes = np.bincount(truth, minlength=classes)
    recalls = np.bincount(truth, weights=correct, minlength=classes)[sizes > 0] / sizes[sizes > 0]
    worst = np.sort(recalls)[: max(1, len(recalls) // 10)]  # the worst tenth of the classes
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
