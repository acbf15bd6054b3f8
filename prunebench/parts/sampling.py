"""Exact sizes in integers: the number of images that a ratio keeps, and shares of a total by class."""

from __future__ import annotations

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array

READ_ALL = ("class_balanced", "stratified")  # draws that read the label of every image


def kept(images: int, ratio: int) -> int:
    """Return the number of images kept if `ratio` percent are pruned, rounded down, in integers only."""
    return images * (100 - ratio) // 100


def share(images: int, fraction: float) -> int:
    """Return floor(images * fraction), safe from binary rounding: share(1000, 0.29) is 290."""
    return int(np.floor(images * fraction + 1e-9))


def apportion(total: int, sizes: Array) -> Array:
    """Share `total` between groups in proportion to their sizes, by largest remainder.

    Of equal remainders, the earlier group comes first. Raise PrunebenchError if the groups together are
    smaller than `total`.

    total: the sum of the shares.
    sizes: int [groups].
    Returns int [groups], which sums to `total`. No share is above the size of its group.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    size = int(sizes.sum())
    if not 0 <= total <= size:
        raise PrunebenchError(f"cannot share {total} between groups that hold {size} in all")
    if size == 0:
        return sizes.copy()
    quotas, remainders = np.divmod(sizes * total, size)
    missing = total - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return quotas


def draw_labels(truth: Array, fraction: float, sampling: str, rng: np.random.Generator) -> Array:
    """Draw the images to annotate.

    "uniform" reads no label. Its draws are nested: a larger fraction contains the smaller one.
    "class_balanced" takes the same number of each class, as USB does. A class that is too small gives all
    its images, so the total may be smaller.
    "stratified" follows the class sizes. It takes at least one image of each class if the budget allows.

    Raise PrunebenchError if `sampling` is unknown, or if a class_balanced draw has fewer labels than classes.

    truth: true labels, int [n].
    fraction: the label budget as a share of n, in 0..1.
    sampling: "uniform", "class_balanced" or "stratified".
    rng: the generator of the draw.
    Returns int [share(n, fraction)], ascending.
    """
    budget = share(len(truth), fraction)
    order = rng.permutation(len(truth))
    if sampling == "uniform":
        return np.sort(order[:budget])
    sizes = np.bincount(truth)
    if sampling == "class_balanced":
        quotas = np.minimum(sizes, _each(budget, int(np.count_nonzero(sizes))))
    elif sampling == "stratified":
        minimum = np.zeros_like(sizes)
        if budget >= np.count_nonzero(sizes):
            minimum[sizes > 0] = 1
        quotas = minimum + apportion(budget - int(minimum.sum()), sizes - minimum)
    else:
        raise PrunebenchError(f"no sampling named {sampling!r}. Known: uniform, class_balanced, stratified.")
    return np.sort(order[rank_within(truth[order]) < quotas[truth[order]]])


def _each(budget: int, classes: int) -> int:
    """Return the number of labels of each class in a class_balanced draw. It is 0 only without a budget."""
    if 0 < budget < classes:
        raise PrunebenchError(
            f"a class_balanced draw cannot share {budget} label(s) between {classes} classes; "
            "raise the labeler's label_fraction or set its sampling to uniform"
        )
    return budget // classes if classes else 0


def rank_within(groups: Array) -> Array:
    """Return the position of each element among the elements of its group, int [n], from 0.

    groups: the group of each element, int [n], from 0.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups))[:-1]])
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - starts[groups[order]]
    return ranks
