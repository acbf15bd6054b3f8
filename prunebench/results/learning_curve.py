"""Learning curves: accuracy by the number of labels, and what more labels would bring.

The error is taken for a power law with an offset, err(n) = a + b n^-c (Hestness et al. 2017, arXiv
1712.00409). Few labels do not decide a and c, so no single curve is fitted. All curves of a grid are weighted
by how well they explain the measured errors, and each predicts. This is Bayes' rule with flat priors: on c,
on the root of the offset's share of the error, and on the error. benchmarks/recommend_coverage.py counts how
often the interval holds what is then measured. The constants were chosen on some of its sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array

LEVEL = 0.95
# Shares of the largest network's error that no number of labels takes away. Small ones are more probable.
SHARES = ((np.arange(20) + 0.5) / 20) ** 2
EXPONENTS = np.linspace(0.1, 1.5, 29)
INFLATION = 1.5  # of the variance: splits share their images, and the labels to come are others
MISFIT = 0.03  # of the error, for each halving of the labels: no curve is an exact power law
NODES = 101  # values that stand for a normal distribution, at equal steps of probability


@dataclass(frozen=True)
class Estimate:
    """A number in percent or points, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """How far the interval reaches from the value, on its wider side."""
        return max(self.high - self.value, self.value - self.low)

    def __str__(self) -> str:
        return f"{self.value:.1f} ± {self.margin:.1f}"


@dataclass(frozen=True, eq=False)
class Curve:
    """A measured learning curve, and its extrapolation.

    sizes: numbers of labels, int [k], ascending, three or more.
    wrong: share of the networks that were wrong on an image held out, float [images, k] in 0..1. All networks
        of a column were trained on as many labels.

    Raise PrunebenchError if sizes or shapes are others.
    """

    sizes: Array
    wrong: Array

    def __post_init__(self) -> None:
        if len(self.sizes) < 3 or (np.diff(self.sizes) <= 0).any() or self.sizes[0] < 1:
            raise PrunebenchError(
                f"a learning curve needs three ascending sizes or more, got {list(self.sizes)}"
            )
        if self.wrong.ndim != 2 or self.wrong.shape[1] != len(self.sizes) or len(self.wrong) < 2:
            raise PrunebenchError(
                f"a learning curve of {len(self.sizes)} sizes has errors of shape {self.wrong.shape}, "
                f"expected [images, {len(self.sizes)}] with two images or more"
            )
        if not ((self.wrong >= 0) & (self.wrong <= 1)).all():
            raise PrunebenchError("a learning curve has errors outside 0..1")

    def measured(self, place: int) -> Estimate:
        """Return the accuracy of the networks of one size, in percent. place: of the size in `sizes`."""
        found = _normal(100 - 100 * self._errors[place], 100 * np.sqrt(self._covariance[place, place]))
        return Estimate(found.value, max(found.low, 0.0), min(found.high, 100.0))

    @property
    def climb(self) -> Estimate:
        """The points between the smallest and the largest networks. Both were tested on the same images."""
        first, last = self._errors[0], self._errors[-1]
        covariance = self._covariance
        variance = covariance[0, 0] + covariance[-1, -1] - 2 * covariance[0, -1]
        return _normal(100 * (first - last), 100 * np.sqrt(variance))

    def accuracy(self, labels: int) -> float:
        """Return the predicted accuracy with a number of labels, in percent. More labels never lower it."""
        return 100 - 100 * float(self._weights @ (self._levels * self._relative(labels)))

    def predicted(self, labels: int) -> Estimate:
        """Return the predicted accuracy, in percent, with the interval of what is measured on many images."""
        relative = self._relative(labels)
        low, high = self._interval(100 - 100 * self._levels * relative, 100 * self._spreads * relative)
        return Estimate(self.accuracy(labels), max(low, 0.0), min(high, 100.0))

    def gained(self, labels: int, more: int) -> Estimate:
        """Return the points that `more` labels bring over `labels`."""
        relative = self._relative(labels) - self._relative(more)
        low, high = self._interval(100 * self._levels * relative, 100 * self._spreads * relative)
        return Estimate(self.accuracy(more) - self.accuracy(labels), low, high)

    @cached_property
    def _errors(self) -> Array:
        """The mean error of each size, float [k] in 0..1."""
        errors: Array = self.wrong.mean(axis=0)
        return errors

    @cached_property
    def _covariance(self) -> Array:
        """That of the mean errors, float [k, k], from the images. Networks of all sizes share the images."""
        images = len(self.wrong)
        floor = np.eye(len(self.sizes)) / images**2  # no error in n images still allows for about 1/n
        return INFLATION * np.cov(self.wrong, rowvar=False) / images + floor

    @cached_property
    def _curves(self) -> tuple[Array, Array]:
        """Share and exponent of each curve of the grid, float [m] each."""
        shares, exponents = np.meshgrid(SHARES, EXPONENTS)
        return shares.ravel(), exponents.ravel()

    def _relative(self, labels: int) -> Array:
        """Return the error with a number of labels, as a share of that of the largest network, float [m]."""
        shares, exponents = self._curves
        relative: Array = shares + (1 - shares) * (labels / self.sizes[-1]) ** -exponents
        return relative

    @cached_property
    def _fits(self) -> tuple[Array, Array, Array]:
        """The error of the largest network by each curve, its spread, and the weight of the curve, float [m].

        Given a curve, the measured errors are a linear function of that error. So it has a normal
        distribution, by generalized least squares.
        """
        halvings = np.log2(self.sizes[-1] / self.sizes)
        misfit = np.diag((MISFIT * halvings * self._errors) ** 2)
        precision = np.linalg.inv(self._covariance + misfit)
        relative = np.stack([self._relative(size) for size in self.sizes], axis=1)
        information = np.einsum("mi,ij,mj->m", relative, precision, relative)
        levels = relative @ precision @ self._errors / information
        evidence = (levels**2 * information - np.log(information)) / 2
        weights = np.exp(evidence - evidence.max())
        return levels, information**-0.5, weights / weights.sum()

    @property
    def _levels(self) -> Array:
        return self._fits[0]

    @property
    def _spreads(self) -> Array:
        return self._fits[1]

    @property
    def _weights(self) -> Array:
        return self._fits[2]

    def _interval(self, means: Array, spreads: Array) -> tuple[float, float]:
        """Return the ends of the 95 % interval of a mixture of normal distributions, one for each curve."""
        from scipy.special import ndtri

        nodes = ndtri((np.arange(NODES) + 0.5) / NODES)
        values = (means[:, None] + spreads[:, None] * nodes).ravel()
        order = np.argsort(values)
        below = np.cumsum(np.repeat(self._weights / NODES, NODES)[order])
        low, high = np.interp([(1 - LEVEL) / 2, (1 + LEVEL) / 2], below, values[order])
        return float(low), float(high)


def _normal(mean: float, spread: float) -> Estimate:
    from scipy.special import ndtri

    half = float(ndtri((1 + LEVEL) / 2)) * float(spread)
    return Estimate(float(mean), float(mean) - half, float(mean) + half)
