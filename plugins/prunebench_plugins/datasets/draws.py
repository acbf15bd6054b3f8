"""The one seeded draw behind every split and every smaller training set of the built-in datasets."""

from __future__ import annotations

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.parts.sampling import apportion, rank_within


def draw_per_class(labels: Array, quotas: Array) -> Array:
    """Draw quotas[c] images of each class c with seed 0: int [quotas.sum()], ascending.

    labels: int [n]. quotas: int [classes], none above the size of its class. A smaller quota draws
    some of the images that a larger one draws.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    drawn = labels[order]
    return np.sort(order[rank_within(drawn) < quotas[drawn]])


def draw_stratified(labels: Array, images: int) -> Array:
    """Draw `images` of the n images with seed 0, each class in proportion: int [images], ascending.

    Raise PrunebenchError where there are fewer than that.
    """
    return draw_per_class(labels, apportion(images, np.bincount(labels)))
