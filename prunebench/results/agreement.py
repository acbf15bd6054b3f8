"""Whether rows of one cell say the same, where a GPU made them: measured by how far seeds lie apart.

Two runs of one training on a GPU add in different orders, so they end like two seeds of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence

from prunebench.results.rows import Result

LEVEL = 0.95  # share of the pairs of runs that agree if chance alone sets them apart

Setting = tuple[str, str, str, int, int]


def setting(row: Result) -> Setting:
    """Return what rows of about equal spread share: the data, the final training and its number of images."""
    return row.dataset_hash, row.recipe, row.repeats, row.protocol_version, row.ratio


def tolerances(rows: Iterable[Result]) -> dict[Setting, float]:
    """Return, by setting, the percentage points within which two draws of one cell lie at LEVEL.

    The variance of a setting is pooled: each method's variance across its seeds on one machine, weighted by
    its degrees of freedom. A difference of two draws has twice that variance, and Student's t sets the limit.
    A setting in which no method has two seeds is left out: nothing says what chance does there.
    """
    from scipy.special import stdtrit  # the quantile of t, without the seconds that scipy.stats takes

    pools: dict[Setting, list[Sequence[float]]] = {}
    for (place, *_), accuracies in _by_method(rows).items():
        if len(accuracies) > 1:
            pools.setdefault(place, []).append([*accuracies.values()])
    found = {}
    for place, pool in pools.items():
        freedom = sum(len(values) - 1 for values in pool)
        variance = sum((len(values) - 1) * statistics.variance(values) for values in pool) / freedom
        found[place] = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(2 * variance)
    return found


def _by_method(rows: Iterable[Result]) -> Mapping[tuple[Setting, Hashable], dict[int, float]]:
    """Return {seed: accuracy} of each method in a setting on one machine. A seed made again counts once."""
    found: dict[tuple[Setting, Hashable], dict[int, float]] = {}
    for row in rows:
        method = (row.suite, row.method, row.method_key, row.machine)
        found.setdefault((setting(row), method), {}).setdefault(row.seed, row.accuracy)
    return found


def disputed(rows: Sequence[Result]) -> set[tuple[object, ...]]:
    """Return the cells whose rows of one machine do not agree."""
    first: dict[tuple[object, ...], Result] = {}
    pairs = ((first.setdefault((row.cell, row.machine), row), row) for row in rows)
    differing = [(one, row) for one, row in pairs if one is not row and not one.agrees(row)]
    # Few pages need the spread, and it loads scipy.
    within = tolerances(rows) if differing else {}
    return {row.cell for one, row in differing if not one.agrees(row, within.get(setting(row), 0.0))}
