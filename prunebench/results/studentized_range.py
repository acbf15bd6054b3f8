"""Quantiles of the studentized range (Tukey 1953): scipy.stats has them, but takes seconds to import.

The range of k standard normal values is divided by an independent estimate of their standard deviation. Both
integrals are sums over even steps, which converge exponentially for integrands as smooth as these.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from prunebench.parts.artefacts import Array

NORMAL = np.linspace(-9, 9, 200)  # where the largest of the values may be
STEPS = 200  # of the logarithm of the standard deviation
REST = 1e-14  # probability that is left out at either end of it
HALVINGS = 40  # of the interval that the quantile is in


@cache
def quantile(level: float, groups: int, degrees: int) -> float:
    """Return what the studentized range exceeds with a probability.

    level: the probability, in 0..1.
    groups: number of values, at least 2.
    degrees: of freedom of the standard deviation, at least 1.
    """
    low, high = 0.0, 1.0
    spreads = _spreads(degrees)
    while _exceeded(high, groups, *spreads) > level:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _exceeded(middle, groups, *spreads) > level:
            low = middle
        else:
            high = middle
    return high


def _spreads(degrees: int) -> tuple[Array, Array]:
    """Return standard deviations as estimated with so many degrees of freedom, and how probable each is."""
    from scipy.special import chdtri

    squares = np.array([chdtri(degrees, 1 - REST), chdtri(degrees, REST)]) / degrees
    low, high = np.log(squares) / 2
    logarithms = np.linspace(low, high, STEPS)
    weights = np.exp(degrees * (logarithms - np.exp(2 * logarithms) / 2 + 0.5))
    return np.exp(logarithms), weights / weights.sum()


def _exceeded(value: float, groups: int, spreads: Array, probable: Array) -> float:
    """Return the probability that the studentized range exceeds a value."""
    from scipy.special import ndtr

    density = np.exp(-(NORMAL**2) / 2)
    others = ndtr(NORMAL) - ndtr(NORMAL - value * spreads[:, None])  # one of them within reach of the largest
    within = groups * others ** (groups - 1) @ (density / density.sum())
    return float(1 - probable @ within)
