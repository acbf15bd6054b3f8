"""The network that score extrapolation rests on, as its published code trains it and looks through it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from prunebench.nn.augment import augment, normalize
from prunebench.nn.networks import Network
from prunebench.nn.training import train
from prunebench.parts import work
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.scorers.score_extrapolation.settings import ScoreExtrapolationSettings

BATCH = 512  # images per look at the trained network


def published(recipe: Recipe, settings: ScoreExtrapolationSettings) -> Recipe:
    """Return the recipe with the published optimizer, rate, batch and length; network and crops stay.

    No warm-up and no weight decay: the published configuration has one that is not passed on. That code
    leaves the network in eval mode after its first look at the test images, at the end of the first epoch.
    """
    return replace(
        recipe,
        optimizer="adam",
        lr=settings.training_lr,
        final_lr=settings.training_lr,
        warmup=0.0,
        weight_decay=0.0,
        batch=settings.training_batch,
        epochs=settings.training_epochs,
        iterations=None,
        statistics_epochs=1,
        proxy_backbone=None,
    )


def record(
    images: Images,
    labels: Array,
    classes: tuple[str, ...],
    settings: ScoreExtrapolationSettings,
    *,
    recipe: Recipe,
    rng: np.random.Generator,
    device: str,
    **options: Any,
) -> tuple[Dynamics, Array]:
    """Train on the labeled images; return the dynamics, and embeddings of all images, float32 [n, d].

    labels: int [n], -1 where unknown. options: `progress` and `checkpoint`, as of `training.train`, whose
    errors are raised.
    """
    recipe, index = published(recipe, settings), np.flatnonzero(labels >= 0)
    images = images.to(device)
    trained = train(
        images,
        labels,
        recipe,
        classes=len(classes),
        index=index,
        record=True,
        rng=rng,
        device=device,
        **options,
    )
    assert trained.dynamics is not None
    return trained.dynamics, glimpses(trained.network, images, recipe, torch_generator(rng, device))


@torch.inference_mode()
def glimpses(network: Network, images: Images, recipe: Recipe, generator: torch.Generator) -> Array:
    """Return the penultimate features of all images, each augmented as in training, in eval mode.

    float32 [n, d]. The published code takes embeddings from the data loader of the training.
    """
    network.eval()
    features = []
    with work.looking(len(images)):
        for start in range(0, len(images), BATCH):
            views = augment(images[start : start + BATCH], recipe, generator)
            seen = network.features(normalize(views, images.mean, images.std))
            features.append(seen.float().cpu().numpy())
    return np.concatenate(features)
