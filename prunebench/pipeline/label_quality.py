"""How good pseudo-labels are, measured against the truth outside the labeler that made them."""

from __future__ import annotations

import numpy as np

from prunebench.parts.artefacts import Array, Labels, Quality


def confusion(values: Array, truth: Array, classes: int) -> Array:
    """Count images by label and true class: int [classes, classes]; unknown labels are left out."""
    known = values >= 0
    cells = values[known] * classes + truth[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def matched(values: Array, truth: Array, classes: int) -> Array:
    """Rename the labels one to one so that as many as possible are true (Hungarian matching): int [n]."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(confusion(values, truth, classes), maximize=True)
    names = np.empty(classes, dtype=np.int64)
    names[rows] = columns
    return np.where(values >= 0, names[values], -1)


def balanced(values: Array, truth: Array, classes: int) -> float:
    """Return the mean over the classes that occur of the share of their images labelled right, in percent."""
    sizes = np.bincount(truth, minlength=classes)
    right = np.bincount(truth[values == truth], minlength=classes)
    return 100 * float((right[sizes > 0] / sizes[sizes > 0]).mean())


def measure(labels: Labels, truth: Array, classes: int) -> Quality:
    """Measure labels on all images, and under `unlabelled_` on those that were not paid for.

    accuracy: percent labelled right as they stand, for labels whose space is "class". hungarian: percent
    after the best one-to-one renaming, which flatters labels that need none. balanced: mean recall over
    classes, in percent (clusters after renaming). nmi, ari: normalised mutual information (arithmetic) and
    adjusted Rand index, times 100. An unknown label is wrong. empty: classes that no image is labelled
    with. prior_distance: total variation between the shares of labels and of true classes, in 0..1
    (clusters after renaming). confidence: mean, where the labeler gives one.
    """
    found, named = _on(labels, truth, classes)
    unpaid = np.flatnonzero(~labels.annotated)
    if 0 < len(unpaid) < len(truth):
        part, _ = _on(labels[unpaid], truth[unpaid], classes)
        found |= {f"unlabelled_{name}": value for name, value in part.items()}
    return Quality(
        metrics=found,
        labels_per_class=np.bincount(named[named >= 0], minlength=classes).tolist(),
        truth_per_class=np.bincount(truth, minlength=classes).tolist(),
    )


def _on(labels: Labels, truth: Array, classes: int) -> tuple[dict[str, float], Array]:
    """Return the metrics, and the labels by the names of classes."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    values = labels.values
    renamed = matched(values, truth, classes)
    named = values if labels.space == "class" else renamed
    shares = [np.bincount(v[v >= 0], minlength=classes) / len(truth) for v in (named, truth)]
    found = {
        "hungarian": 100 * float((renamed == truth).mean()),
        "balanced": balanced(named, truth, classes),
        "nmi": 100 * float(normalized_mutual_info_score(truth, values)),
        "ari": 100 * float(adjusted_rand_score(truth, values)),
        "empty": float(np.count_nonzero(np.bincount(values[values >= 0], minlength=classes) == 0)),
        "prior_distance": float(np.abs(shares[0] - shares[1]).sum() / 2),
    }
    if labels.space == "class":
        found["accuracy"] = 100 * float((values == truth).mean())
    if labels.confidences is not None:
        found["confidence"] = float(labels.confidences.mean())
    return found, named
