"""The quality of pseudo-labels, measured against the true labels. Labelers never see the result."""

from __future__ import annotations

import numpy as np

from prunebench.parts.artefacts import Array, Labels, Quality


def confusion(values: Array, truth: Array, classes: int) -> Array:
    """Return the number of images per label (rows) and true class (columns): int [classes, classes].

    Images without a label (-1) are left out.
    """
    known = values >= 0
    cells = values[known] * classes + truth[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def matched(values: Array, truth: Array, classes: int) -> Array:
    """Return the labels, renamed one to one so that most are true (Hungarian matching): int [n]."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(confusion(values, truth, classes), maximize=True)
    names = np.empty(classes, dtype=np.int64)
    names[rows] = columns
    return np.where(values >= 0, names[values], -1)


def balanced(values: Array, truth: Array, classes: int) -> float:
    """Return the mean recall in percent, over the classes that occur in `truth`."""
    sizes = np.bincount(truth, minlength=classes)
    correct = np.bincount(truth[values == truth], minlength=classes)
    return 100 * float((correct[sizes > 0] / sizes[sizes > 0]).mean())


def apart(values: Array) -> Array:
    """Return the labels, with a cluster of its own for each image without one (-1): int [n]."""
    missing = values < 0
    return np.where(missing, values.max(initial=0) + np.cumsum(missing), values)


def measure(labels: Labels, truth: Array, classes: int) -> Quality:
    """Measure labels on all images, and on the images that were not annotated.

    The metrics on the latter have the prefix `unlabeled_`. A missing label (-1) counts as wrong.

    accuracy: percent of correct labels. Only for labels that name classes, not for clusters.
    hungarian: percent of correct labels after the best one-to-one renaming. It overrates labels that name
        classes.
    balanced: mean recall over classes, in percent. Clusters are renamed first.
    nmi: normalized mutual information (arithmetic mean) of the images with a label, times their percentage.
        Clusters of one image would raise it: such clusters alone have 60 with 50,000 images of 100 classes.
    ari: adjusted Rand index, times 100. Each image without a label is a cluster of its own.
    empty: the number of classes that no image is labeled with.
    prior_distance: total variation between the shares of the labels and of the true classes, in 0..1.
        Clusters are renamed first.
    confidence: the mean confidence, if the labeler returns confidences.
    """
    metrics, named = _metrics(labels, truth, classes)
    unlabeled = np.flatnonzero(~labels.annotated)
    if 0 < len(unlabeled) < len(truth):
        on_unlabeled, _ = _metrics(labels[unlabeled], truth[unlabeled], classes)
        metrics |= {f"unlabeled_{name}": value for name, value in on_unlabeled.items()}
    return Quality(
        metrics=metrics,
        labels_per_class=np.bincount(named[named >= 0], minlength=classes).tolist(),
        truth_per_class=np.bincount(truth, minlength=classes).tolist(),
    )


def _metrics(labels: Labels, truth: Array, classes: int) -> tuple[dict[str, float], Array]:
    """Return the metrics, and the labels as classes (clusters after renaming): int [n]."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    values = labels.values
    renamed = matched(values, truth, classes)
    known = values >= 0
    named = values if labels.space == "class" else renamed
    label_shares = np.bincount(named[named >= 0], minlength=classes) / len(truth)
    true_shares = np.bincount(truth[truth >= 0], minlength=classes) / len(truth)
    metrics = {
        "hungarian": 100 * float((renamed == truth).mean()),
        "balanced": balanced(named, truth, classes),
        "nmi": 100 * float(known.mean() * normalized_mutual_info_score(truth[known], values[known])),
        "ari": 100 * float(adjusted_rand_score(truth, apart(values))),
        "empty": float(np.count_nonzero(np.bincount(values[values >= 0], minlength=classes) == 0)),
        "prior_distance": float(np.abs(label_shares - true_shares).sum() / 2),
    }
    if labels.space == "class":
        metrics["accuracy"] = 100 * float((values == truth).mean())
    if labels.confidences is not None:
        metrics["confidence"] = float(labels.confidences.mean())
    return metrics, named
