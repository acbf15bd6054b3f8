"""What a table says about several seeds: mean, spread and interval; tests; where further runs would lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1; None for a single value) of n values."""

    mean: float
    spread: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.spread is None else f"{self.mean:.1f} ± {self.spread:.1f}"


def summarize(values: Sequence[float]) -> Summary:
    """Summarize at least one value."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Summary(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Summary(mean, math.sqrt(variance), len(values))


def prediction_interval(values: Sequence[float], runs: int) -> tuple[float, float] | None:
    """Return the 95 % interval for one further mean of `runs` values drawn as these were.

    None where no spread is known: from a single value, or from equal ones.
    """
    return _interval(values, 0.95, 1 / len(values) + 1 / runs)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return the t interval of the mean of these values at a confidence level.

    None where no spread is known: from a single value, or from equal ones.
    """
    return _interval(values, level, 1 / len(values))


def resampled_interval(
    values: Sequence[float], tested: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the t interval of the mean over random splits of the same images.

    None where no spread is known: from a single value, or from equal ones.

    The splits share images, so their values are no independent runs: the variance of the mean is that of a
    value times 1/n + tested / (1 - tested) (Nadeau and Bengio 2003, Inference for the Generalization Error).

    tested: share of the images in a test split, in 0..1.
    """
    return _interval(values, level, 1 / len(values) + tested / (1 - tested))


def _interval(values: Sequence[float], level: float, variance: float) -> tuple[float, float] | None:
    found = summarize(values)
    # Equal values show no spread, not that there is none: a test split of 300 images has few accuracies.
    if found.spread is None or math.isclose(min(values), max(values), abs_tol=1e-9):
        return None
    from scipy.special import stdtrit  # the quantile of t, without the seconds that scipy.stats takes

    half = float(stdtrit(found.count - 1, (1 + level) / 2)) * found.spread * math.sqrt(variance)
    return found.mean - half, found.mean + half


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order, at most 1.

    Holm's rule (S. Holm 1979) holds whatever the tests depend on.
    """
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(factors * np.take(values, order)).clip(max=1)
    return [float(value) for value in corrected]


def sign_flip(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value of differences whose signs are chance, such as one per dataset.

    No distribution is assumed. n differences reach 2 / 2 ** n at best: see `flips_needed`.
    """
    from scipy.stats import permutation_test

    found = permutation_test(
        [differences], np.mean, permutation_type="samples", n_resamples=math.inf, batch=1 << 12
    )
    return float(found.pvalue)


def flips_needed(tests: int, level: float) -> int:
    """Return how many differences a sign-flip test needs to reach a level, if it is one of many tests."""
    return math.ceil(math.log2(2 * tests / level))


def mean_ranks(table: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean rank of each row over the columns of a full table. 1 is the highest; equals share."""
    values = np.asarray(table)
    higher = (values[:, None] < values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    return [float(rank) for rank in (higher + (equal + 1) / 2).mean(axis=1)]


def variance_components(ladder: Mapping[str, Sequence[float]]) -> dict[str, float] | None:
    """Split the variance of runs by the stages that they repeat. None where a rung has a single run.

    ladder: values of runs, by the first stage that each run repeats, together with all stages after it. The
        earliest stage comes first. So every rung holds the variance of the rungs below it.

    Returns the share of each stage, and of the stages up to the next rung, as a variance: that of its rung
    without that of the next, and 0 if that is negative. The last rung has its own. These are the estimates of
    a nested analysis of variance (Searle, Casella and McCulloch 1992, chapter 3) from separate samples.
    """
    if any(len(values) < 2 for values in ladder.values()):
        return None
    totals = [float(np.var(values, ddof=1)) for values in ladder.values()]
    below = [*totals[1:], 0.0]
    return {stage: max(total - rest, 0.0) for stage, total, rest in zip(ladder, totals, below, strict=True)}
