"""How well the probabilities of a network fit what is true."""

from __future__ import annotations

import numpy as np

from prunebench.parts.artefacts import Array

BINS = 15  # of equal width (Guo et al. 2017, section 5)


def log_probabilities(logits: Array) -> Array:
    """Return the logarithms of the softmax: float64 [n, classes]. None of them is minus infinity.

    logits: float [n, classes].
    """
    from scipy.special import log_softmax

    values: Array = log_softmax(logits.astype(np.float64), axis=1)
    return values


def measure(log_probabilities: Array, truth: Array) -> dict[str, float]:
    """Return how far probabilities are from the truth. Lower is better.

    log_probabilities: float64 [n, classes].
    truth: the true classes, int [n].

    ece: expected calibration error in percent, over 15 bins of equal width (Guo et al. 2017, equation 3).
    nll: mean negative log-likelihood of the true class, in nats.
    brier: mean squared distance to the one-hot truth, in 0..2 (Brier 1950).
    """
    probabilities = np.exp(log_probabilities)
    images = np.arange(len(truth))
    squares = (probabilities**2).sum(axis=1) - 2 * probabilities[images, truth] + 1
    return {
        "ece": 100 * _calibration_error(probabilities, truth),
        "nll": -float(log_probabilities[images, truth].mean()),
        "brier": float(squares.mean()),
    }


def _calibration_error(probabilities: Array, truth: Array) -> float:
    """Return the mean distance of accuracy and confidence over bins, weighted by their images."""
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    bins = np.ceil(confidences * BINS).astype(np.int64) - 1  # bin m is ((m - 1) / 15, m / 15]
    gaps = np.bincount(bins, weights=correct - confidences, minlength=BINS)
    return float(np.abs(gaps).sum()) / len(truth)
