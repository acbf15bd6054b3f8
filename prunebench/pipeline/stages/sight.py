"""What networks see: images, or the embeddings of a frozen backbone. And what they start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.base import Backbone
from prunebench.parts.identity import construct, identity
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Identity, Input, Seed
from prunebench.pipeline.plan import Plan, length, training_title
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.pooled_embeddings import embeddings_of_split
from prunebench.suites.cells import Cell

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False, kw_only=True)
class Training(Stage):
    """A stage that trains networks.

    recipe: how they train.
    seed: the seed of the initial weights and of the order of images.
    backbone: the identity of the backbone that is fine-tuned, with the content of its weights. None: networks
        train from scratch, or on embeddings.
    """

    recipe: Identity
    seed: Seed
    backbone: Identity | None = None

    @property
    def training(self) -> Identity | None:
        """The recipe, or None if the networks train on embeddings."""
        return None if self.named("seen") else self.recipe

    @property
    def body(self) -> Callable[[], nn.Module] | None:
        """What makes the backbone that is fine-tuned.

        Raise PrunebenchError if its code or its weights changed since the key was made.
        """
        if self.backbone is None:
            return None
        part = registry.load().rebuild(self.backbone)
        assert isinstance(part, Backbone)
        if identity(part) != self.backbone:
            raise PrunebenchError(
                f"the code or the weights of {part.name!r} changed during the run; run the command again"
            )
        return partial(part.trainable, len(self.dataset.mean))


def finetuned(plan: Plan, cell: Cell) -> Identity | None:
    """Return the backbone that the final networks of a cell fine-tune, or None if they do not."""
    if cell.final_backbone is None or not cell.recipe.finetune:
        return None
    return plan.pinned(cell.final_backbone)


def seen_by_proxy(plan: Plan, cell: Cell) -> tuple[Input, ...]:
    """Return the embeddings that proxy networks train on. Empty if they train on images."""
    return _seen(plan, cell, cell.proxy_backbone)


def seen_by_final(plan: Plan, cell: Cell, *, test: bool) -> tuple[Input, ...]:
    """Return the embeddings that final networks train on. Empty if they train on images.

    test: whether they are tested on the test split. Its embeddings are then the input `seen_in_test`.
    """
    if cell.recipe.finetune:
        return ()
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
    if recipe.finetune:
        return f"{backbone.written} fine-tuned, {length(recipe)}"
    return f"{recipe.head} on {backbone.written}, {length(recipe)}"


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
