"""The seeded draw behind every split and every smaller training set of the built-in datasets."""

from __future__ import annotations

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.sampling import apportion, rank_within


def draw_per_class(labels: Array, quotas: Array) -> Array:
    """Draw quotas[c] images of each class c with seed 0: int [quotas.sum()], ascending.

    Draws are nested: a larger quota draws all images of a smaller one, and more.

    labels: int [n].
    quotas: int [classes], none above the size of its class.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = labels[order]
    return np.sort(order[rank_within(shuffled) < quotas[shuffled]])


def draw_stratified(labels: Array, images: int) -> Array:
    """Draw `images` of the n images with seed 0, each class in proportion: int [images], ascending.

    Raise PrunebenchError if there are fewer.
    """
    return draw_per_class(labels, apportion(images, np.bincount(labels)))
