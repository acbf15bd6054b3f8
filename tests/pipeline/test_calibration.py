"""Calibration against the formulas, written out."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from prunebench.pipeline.calibration import log_probabilities, measure


def by_hand(probabilities, truth):
    """Return the expected calibration error in percent: bin after bin, image after image."""
    total = 0.0
    for m in range(1, 16):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, truth, strict=True)
            if (m - 1) / 15 < row.max() <= m / 15
        ]
        if inside:
            confidences, hits = zip(*inside, strict=True)
            total += len(inside) * abs(np.mean(hits) - np.mean(confidences))
    return 100 * total / len(truth)


def test_measures_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    values = log_probabilities(rng.normal(size=(200, 5)).astype(np.float32))
    probabilities = np.exp(values)
    truth = np.array([rng.choice(5, p=row) for row in probabilities])  # some bins too sure, others not enough
    onehot = np.eye(5)[truth]
    found = measure(values, truth)
    assert found["ece"] == pytest.approx(by_hand(probabilities, truth))
    assert found["nll"] == pytest.approx(log_loss(truth, probabilities))
    assert found["brier"] == pytest.approx(((probabilities - onehot) ** 2).sum(axis=1).mean())


def test_a_network_that_is_sure_and_right_is_at_zero_and_one_that_is_wrong_is_finite():
    values = log_probabilities(np.array([[1000.0, 0.0], [0.0, 1000.0]], np.float32))
    assert measure(values, np.array([0, 1])) == {"ece": 0.0, "nll": 0.0, "brier": 0.0}
    assert measure(values, np.array([1, 0])) == {"ece": 100.0, "nll": 1000.0, "brier": 2.0}
