"""Exact integer sizes: how many images a ratio keeps, and how a total is shared between classes."""

from __future__ import annotations

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array

READ_ALL = ("class_balanced", "stratified")  # the draws that look at the label of every image


def kept(images: int, ratio: int) -> int:
    """Return how many of `images` stay when `ratio` percent are pruned: floor, in integers only."""
    return images * (100 - ratio) // 100


def share(images: int, fraction: float) -> int:
    """Return floor(images * fraction), immune to binary rounding: share(1000, 0.29) is 290."""
    return int(np.floor(images * fraction + 1e-9))


def apportion(total: int, sizes: Array) -> Array:
    """Share `total` between groups in proportion to their sizes, by largest remainder.

    sizes: int [groups]. Returns int [groups], summing to `total`, none above its size; equal
    remainders go to the earlier group.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    everything = int(sizes.sum())
    if not 0 <= total <= everything:
        raise PrunebenchError(f"cannot share {total} between groups that hold {everything} in all")
    if everything == 0:
        return sizes.copy()
    quotas, remainders = np.divmod(sizes * total, everything)
    left = total - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:left]] += 1
    return quotas


def draw_labels(truth: Array, fraction: float, sampling: str, rng: np.random.Generator) -> Array:
    """Choose the images whose true label is bought: int [share(n, fraction)], ascending.

    truth: int [n]. sampling: "uniform" looks at no label; "class_balanced" takes the same number
    of each class (the USB rule; a class that is too small gives all it has, so the total may be
    smaller); "stratified" follows the class sizes, at least one of each class where possible.
    A larger fraction of a uniform draw contains the smaller one. Raise PrunebenchError where a
    class_balanced draw has fewer labels than classes.
    """
    budget = share(len(truth), fraction)
    order = rng.permutation(len(truth))
    if sampling == "uniform":
        return np.sort(order[:budget])
    sizes = np.bincount(truth)
    if sampling == "class_balanced":
        quotas = np.minimum(sizes, _each(budget, int(np.count_nonzero(sizes))))
    elif sampling == "stratified":
        floor = (sizes > 0).astype(np.int64) if budget >= np.count_nonzero(sizes) else np.zeros_like(sizes)
        quotas = floor + apportion(budget - int(floor.sum()), sizes - floor)
    else:
        raise PrunebenchError(f"no sampling named {sampling!r}. Known: uniform, class_balanced, stratified.")
    return np.sort(order[rank_within(truth[order]) < quotas[truth[order]]])


def _each(budget: int, classes: int) -> int:
    """Return how many labels of each class a class_balanced draw takes; 0 only where there is no budget."""
    if 0 < budget < classes:
        raise PrunebenchError(
            f"a class_balanced draw cannot share {budget} label(s) between {classes} classes; "
            "raise the labeler's annotation or set its sampling to uniform"
        )
    return budget // classes if classes else 0


def rank_within(groups: Array) -> Array:
    """Return each element's place among the elements of its own group: int [n], from 0, in order."""
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups))[:-1]])
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - starts[groups[order]]
    return ranks
