"""Stage: how networks fare that are trained on ever more of the labels there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from prunebench.parts import seeds
from prunebench.parts.artefacts import Array, HeldOut
from prunebench.pipeline.context import Context, stream
from prunebench.pipeline.plan import Plan, seed_of
from prunebench.pipeline.stages.sight import Training, finetuned, seen_by_final, sight, title_of
from prunebench.suites.cells import Cell

FOLDS = 5  # a fifth of the labeled images is held out
HALVINGS = 4  # the smallest network sees a 16th of the labels of the largest one
FEWEST = 4  # labels to train on


@dataclass(frozen=True, eq=False, kw_only=True)
class LearningCurve(Training):
    """Trains networks on nested random subsets of the labels, and tests all on the same images held out.

    seed: the seed of the images held out, of the subsets and of the trainings.
    """

    kind: ClassVar[str] = "learning_curve"

    @classmethod
    def of(cls, plan: Plan, cell: Cell) -> LearningCurve:
        """Return the curve of the final networks of a cell, whatever its method."""
        recipe = plan.final(cell.recipe)
        return plan.add(
            cls,
            cell,
            seen_by_final(plan, cell, test=False),
            title=title_of(recipe, cell.final_backbone),
            on_device=True,
            recipe=plan.recipe(recipe),
            seed=seed_of(cls.kind, cell.seed),
            backbone=finetuned(plan, cell),
        )

    def compute(self, context: Context) -> tuple[HeldOut]:
        """Return what each network was wrong on."""
        from prunebench.nn import training

        images, recipe = sight(self, self.recipe, context)
        labels = context.truth
        rng = stream(self.seed)
        trained, tested = split(labels, self.seed[2], rng)
        counts = sizes(len(trained))
        wrong = np.empty((len(tested), len(counts)), bool)
        test = images.take(tested), labels[tested]
        for place, count in enumerate(counts):
            network = training.train(
                images,
                labels,
                replace(recipe, batch=even_batch(count, recipe.batch)),
                classes=len(context.classes),
                rng=rng,
                device=context.device,
                index=trained[:count],
                test=test,
                body=self.body,
            )
            wrong[:, place] = network.predictions != test[1]
            context.progress(place + 1, len(counts))
        return (HeldOut(sizes=np.array(counts), index=tested, wrong=wrong),)


def split(labels: Array, repeat: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the images to train on, in random order, and those held out.

    FOLDS repeats in a row hold out every labeled image once, and as many of each class as possible. All
    train on the same number of images.

    labels: int [n], -1 = unlabeled.
    rng: the generator of the order.
    Returns int [t] and int [h], ascending. h differs by one at most between repeats.
    """
    order = seeds.stream("folds", repeat // FOLDS).permutation(np.flatnonzero(labels >= 0))
    order = order[np.argsort(labels[order], kind="stable")]
    held_out = np.arange(len(order)) % FOLDS == repeat % FOLDS
    trained = rng.permutation(np.sort(order[~held_out]))
    return trained[: len(order) - -(-len(order) // FOLDS)], np.sort(order[held_out])


def sizes(most: int) -> list[int]:
    """Return the numbers of labels to train on, ascending, each half of the next, up to `most`."""
    halves = [most // 2**halving for halving in range(HALVINGS + 1)]
    return [count for count in reversed(halves) if count >= FEWEST]


def even_batch(images: int, most: int) -> int:
    """Return the size of as few batches as possible, of at most `most` images each, and about equal.

    Otherwise the last batch may hold a few images alone, whose BatchNorm spoils the network. The curve would
    have a dent wherever the number of images is a little above a multiple of the batch.
    """
    return -(-images // -(-images // most))
