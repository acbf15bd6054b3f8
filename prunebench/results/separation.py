"""Which groups of runs differ, over all pairs at one error rate. docs/statistics.md gives the reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.results.statistics import holm, summarize
from prunebench.results.studentized_range import quantile

LEVEL = 0.05  # how often any two groups without a difference are separated, over all pairs together
UNEQUAL = 0.05  # Bartlett's p below which groups scatter differently
MOST_SEEDS = 1000  # a comparison that needs more is out of reach

Runs = Mapping[int, float]  # the value of each run, by its seed
Pair = tuple[int, int]  # of groups, by their position


@dataclass(frozen=True)
class Noise:
    """How far single runs of k groups scatter about the mean of their group.

    variances: of a single run, float [k].
    counts: of runs, int [k].
    degrees: of freedom of the one variance that all groups share. None: each group has its own.
    """

    variances: Array
    counts: Array
    degrees: int | None

    @property
    def pooled(self) -> bool:
        """Whether all groups share one variance."""
        return self.degrees is not None

    @property
    def pairs(self) -> tuple[Array, Array]:
        """The first and the second group of each pair, int [k (k - 1) / 2]."""
        return np.triu_indices(len(self.counts), 1)

    def again(self, runs: int) -> Noise:
        """Return the noise of as many groups that scatter alike, with this number of runs each."""
        groups = len(self.counts)
        degrees = (groups - 1) * (runs - 1) if self.pooled else None
        return replace(self, counts=np.full(groups, runs), degrees=degrees)

    def errors(self, first: Array, second: Array) -> Array:
        """Return the standard error of the difference of two means, for each pair of groups."""
        squares = self.variances / self.counts
        return np.sqrt(squares[first] + squares[second])

    def freedom(self, first: Array, second: Array) -> Array:
        """Return the degrees of freedom of these errors: all alike, or by Welch (1947)."""
        if self.degrees is not None:
            return np.full(np.shape(first), float(self.degrees))
        squares = self.variances / self.counts
        fourths = squares**2 / (self.counts - 1)
        below = fourths[first] + fourths[second]
        above = (squares[first] + squares[second]) ** 2
        freedom: Array = np.divide(above, below, out=np.ones_like(above), where=below > 0)
        return freedom

    def critical(self, first: Array, second: Array, level: float) -> Array:
        """Return how many errors apart two means have to be, for each pair, if all pairs are compared."""
        if self.degrees is not None:
            distance = quantile(level, len(self.counts), self.degrees) / 2**0.5
            return np.full(np.shape(first), distance)
        from scipy.special import stdtrit

        return np.asarray(stdtrit(self.freedom(first, second), 1 - level / 2 / len(self.pairs[0])))


def noise(groups: Sequence[Runs]) -> Noise | None:
    """Return how far the runs of at least two groups scatter. None where no spread is known.

    The variance is shared unless Bartlett's test finds that groups scatter differently. If all groups have
    the same seeds, the seeds are blocks of a randomized block design: runs of a seed share label draw and
    initialization, and what all groups have in common there is no noise.
    """
    if len(groups) < 2 or min(map(len, groups)) < 2:
        return None
    values = [np.array([*runs.values()]) for runs in groups]
    variances = np.array([np.var(one, ddof=1) if np.ptp(one) else 0.0 for one in values])
    counts = np.array([*map(len, values)])
    if not variances.any():
        return None
    if not variances.all() or _unequal(variances, counts - 1):
        return Noise(variances, counts, None)
    residuals, degrees = _residuals(groups)
    if np.allclose(residuals, 0):
        return None  # all groups move alike from seed to seed
    shared = float(np.sum(residuals**2)) / degrees
    return Noise(np.full(len(groups), shared), counts, degrees)


def _unequal(variances: Array, degrees: Array) -> bool:
    """Whether Bartlett's test (1937) finds that variances of so many degrees of freedom differ."""
    from scipy.special import chdtrc  # scipy.stats has the test, and takes a second to import

    groups, total = len(variances), degrees.sum()
    shared = (degrees * variances).sum() / total
    distance = total * np.log(shared) - (degrees * np.log(variances)).sum()
    correction = 1 + ((1 / degrees).sum() - 1 / total) / (3 * (groups - 1))
    return bool(chdtrc(groups - 1, distance / correction) < UNEQUAL)


def _residuals(groups: Sequence[Runs]) -> tuple[Array, int]:
    """Return what is left of all runs without group, and block if seeds are shared, and its degrees."""
    seeds = sorted(groups[0])
    if any(runs.keys() != groups[0].keys() for runs in groups):
        left = [value - summarize([*runs.values()]).mean for runs in groups for value in runs.values()]
        return np.array(left), len(left) - len(groups)
    table = np.array([[runs[seed] for seed in seeds] for runs in groups])
    table = table - table.mean(axis=1, keepdims=True)
    return table - table.mean(axis=0), (len(groups) - 1) * (len(seeds) - 1)


@dataclass(frozen=True)
class Comparison:
    """Which of k groups differ, over all pairs together.

    means: float [k].
    above: whether the first of two groups is separated above the second, bool [k, k].
    margins: the difference that separates a pair, float [k (k - 1) / 2]. Infinite if neither group scatters.
    pooled: whether all groups share one variance, so that all margins of groups with as many runs are equal.
    """

    means: Array
    above: Array
    margins: Array
    pooled: bool

    @property
    def apart(self) -> Array:
        """Whether two groups are separated, bool [k, k]."""
        apart: Array = self.above | self.above.T
        return apart

    @property
    def resolution(self) -> float:
        """The difference that separates half of the pairs."""
        return float(np.median(self.margins))

    @property
    def ranks(self) -> list[tuple[int, int]]:
        """The best and the worst rank that each group may have; 1 is the highest mean.

        A group ranks below all that are separated above it, and above all that are separated below it. All
        of these intervals hold at once wherever no separation is wrong (Al Mohamad, Goeman and van Zwet 2022,
        Biometrics 78(2)).
        """
        best = 1 + self.above.sum(axis=0)
        worst = len(self.means) - self.above.sum(axis=1)
        return [(int(low), int(high)) for low, high in zip(best, worst, strict=True)]

    @property
    def ties(self) -> list[int]:
        """The tie group of each group, numbered from 1 at the top.

        A new tie group begins where every group above is separated from every group below.
        """
        order = np.argsort(-self.means, kind="stable")
        above = self.above[np.ix_(order, order)]
        begins = [bool(above[:place, place:].all()) for place in range(1, len(order))]
        numbers = np.empty(len(order), int)
        numbers[order] = 1 + np.cumsum([False, *begins])
        return [int(number) for number in numbers]


def compare(groups: Sequence[Runs], level: float = LEVEL) -> Comparison | None:
    """Compare all pairs of groups. None where no spread is known.

    Groups that scatter alike are compared by the studentized range (Tukey 1953; Kramer 1956 for different
    numbers of runs), others by Welch's t tests, corrected by Holm's rule.

    level: the share of comparisons without any true difference that separate some pair.
    """
    found = noise(groups)
    if found is None:
        return None
    first, second = found.pairs
    means = np.array([summarize([*runs.values()]).mean for runs in groups])
    errors = found.errors(first, second)
    margins = np.where(errors > 0, found.critical(first, second, level) * errors, np.inf)
    if found.pooled:
        separated = np.abs(means[first] - means[second]) > margins
    else:
        separated = np.array(holm(_p_values(found, means, first, second))) < level
    apart = np.zeros((len(means), len(means)), bool)
    apart[first, second] = apart[second, first] = separated
    return Comparison(means, apart & (means[:, None] > means), margins, found.pooled)


def between(groups: Sequence[Runs], pairs: Sequence[Pair], level: float = LEVEL) -> list[int]:
    """Return whether the second group of each pair is separated from the first: 1 above, -1 below, 0 neither.

    These are t tests with the variances of `noise`, corrected by Holm's rule. Where no spread is known,
    nothing is separated.
    """
    found = noise(groups)
    if found is None:
        return [0] * len(pairs)
    means = np.array([summarize([*runs.values()]).mean for runs in groups])
    first, second = np.array(pairs, int).reshape(-1, 2).T
    separated = np.array(holm(_p_values(found, means, first, second))) < level
    return [int(sign) for sign in np.sign(means[second] - means[first]) * separated]


def _p_values(found: Noise, means: Array, first: Array, second: Array) -> Sequence[float]:
    """Return the two-sided p-value of each pair; 1 where both runs of a pair do not scatter at all."""
    from scipy.special import stdtr

    errors = found.errors(first, second)
    distances = np.abs(means[first] - means[second])
    ratios = np.divide(distances, errors, out=np.zeros_like(errors), where=errors > 0)
    return [float(value) for value in 2 * stdtr(found.freedom(first, second), -ratios)]


def seeds_needed(found: Noise, pair: Pair, difference: float, power: float) -> int | None:
    """Return how many seeds of every group separate a pair that differs. None: more than MOST_SEEDS.

    found: the noise, taken for that of all runs to come.
    pair: two of its groups, of which one scatters.
    difference: of their true means, above 0.
    power: the share of boards that are to separate them, in 0..1.
    """
    low = _fewest(float(found.variances[[*pair]].sum()), difference, power)
    high = low + 1
    while high <= MOST_SEEDS and _power(found.again(high), pair, difference) < power:
        low, high = high, high * 2
    while low < MOST_SEEDS and high - low > 1:
        middle = (low + high) // 2
        if _power(found.again(middle), pair, difference) < power:
            low = middle
        else:
            high = middle
    return high if high <= MOST_SEEDS else None


def _fewest(variance: float, difference: float, power: float) -> int:
    """Return how many seeds, at least 1, are too few even if the noise is known and one pair is compared."""
    from scipy.special import ndtri

    needed = variance * ((ndtri(1 - LEVEL / 2) + ndtri(power)) / difference) ** 2
    return max(1, math.ceil(min(float(needed), MOST_SEEDS)) - 1)


def _power(found: Noise, pair: Pair, difference: float) -> float:
    """Return the share of boards with this noise that separate a pair which differs so much."""
    from scipy.special import nctdtr

    first, second = np.array([pair[0]]), np.array([pair[1]])
    shift = difference / found.errors(first, second)
    critical = found.critical(first, second, LEVEL)
    missed = float(nctdtr(found.freedom(first, second), shift, critical)[0])
    return 1.0 if np.isnan(missed) else 1 - missed  # it underflows to nan where nothing is missed
