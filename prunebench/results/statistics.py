"""What a table says about several seeds: mean, spread and how many; where further runs would lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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
    """Return the 95 % interval for one further mean of `runs` values drawn as these were; None from one."""
    return _interval(values, 0.95, 1 / len(values) + 1 / runs)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return the t interval of the mean of these values at a confidence level; None from a single value."""
    return _interval(values, level, 1 / len(values))


def _interval(values: Sequence[float], level: float, variance: float) -> tuple[float, float] | None:
    found = summarize(values)
    if found.spread is None:
        return None
    from scipy.special import stdtrit  # the quantile of t, without the seconds that scipy.stats takes

    half = float(stdtrit(found.count - 1, (1 + level) / 2)) * found.spread * math.sqrt(variance)
    return found.mean - half, found.mean + half
