"""What networks see: images, or the embeddings of a frozen backbone."""

from __future__ import annotations

from prunebench.parts.base import Backbone
from prunebench.parts.identity import construct
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input
from prunebench.pipeline.plan import Plan, length, training_title
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.pooled_embeddings import embeddings_of_split
from prunebench.suites.cells import Cell


def seen_by_proxy(plan: Plan, cell: Cell) -> tuple[Input, ...]:
    """Return the embeddings that proxy networks train on. Empty if they train on images."""
    return _seen(plan, cell, cell.proxy_backbone)


def seen_by_final(plan: Plan, cell: Cell, *, test: bool) -> tuple[Input, ...]:
    """Return the embeddings that final networks train on. Empty if they train on images.

    test: whether they are tested on the test split. Its embeddings are then the input `seen_in_test`.
    """
    inputs = _seen(plan, cell, cell.final_backbone)
    if inputs and test:
        assert cell.final_backbone is not None
        inputs += (Input("seen_in_test", embeddings_of_split(plan, cell, cell.final_backbone, "test")),)
    return inputs


def _seen(plan: Plan, cell: Cell, backbone: Backbone | None) -> tuple[Input, ...]:
    if backbone is None:
        return ()
    return (Input("seen", embeddings_of_split(plan, cell, backbone)),)


def title_of(recipe: Recipe, backbone: Backbone | None) -> str:
    """Return the network and the length of a training, for titles, such as: mlp on dino_vitb16, 50 epochs."""
    if backbone is None:
        return training_title(recipe)
    return f"{recipe.head} on {backbone.name}, {length(recipe)}"


def sight(stage: Stage, recipe: Identity, context: Context) -> tuple[Images, Recipe]:
    """Return what a network trains on, and its recipe: images, or embeddings for a head."""
    training = construct(Recipe, recipe, "recipe")
    if not stage.named("seen"):
        return context.images, training
    return context.vectors(stage.named("seen")), training.on_vectors()


def sight_in_test(stage: Stage, context: Context) -> Images:
    """Return what a network sees of the test split: images, or embeddings.

    These are standardized as the embeddings of the training images are.
    """
    if not stage.named("seen_in_test"):
        return context.test[0]
    return context.vectors(stage.named("seen_in_test"), like=stage.named("seen"))
