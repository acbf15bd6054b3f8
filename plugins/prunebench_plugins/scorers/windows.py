"""The mean and the standard deviation of every window of epochs, found by doubling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prunebench.parts.artefacts import Array

# Numbers in each array at hand: 128 KiB, so that all of them stay in the cache of a core, and in the heap,
# where larger arrays would be mapped, and their pages cleared, anew for every operation.
SCRATCH = 2**14


def over_windows(series: Array, window: int, combine: Callable[[Array, Array], Array]) -> Array:
    """Return what `combine` makes of the mean and the unbiased standard deviation of all windows.

    series: float [epochs, m]; there is a window of `window` epochs, 2 or more, at every epoch from which
    it fits. combine is called with two arrays, float64 [windows, b], for b images at a time, which it may
    change, and returns float64 [b]. The result is float64 [m].

    A window whose values are all equal has a standard deviation of exactly 0, and one whose values hardly
    differ an accurate one: squares are taken of differences alone, and nothing is ever subtracted from a
    running sum. So an exponent below 1 finds no noise that it could amplify.
    """
    epochs, images = series.shape
    width = max(1, SCRATCH // epochs)
    found = np.empty(images)
    for start in range(0, images, width):
        single = _Spans(1, series[:, start : start + width].astype(np.float64), None)
        spans = _doubled(single, window)
        assert spans.squares is not None
        mean = np.divide(spans.sums, window, out=spans.sums)
        variance = np.divide(spans.squares, window - 1, out=spans.squares)
        found[start : start + width] = combine(mean, np.sqrt(variance, out=variance))
    return found


@dataclass(frozen=True, eq=False)
class _Spans:
    """All spans of `length` epochs: their sums and the squared distances to their mean, [spans, b].

    squares: None at length 1, where all are 0.
    """

    length: int
    sums: Array
    squares: Array | None


def _doubled(single: _Spans, length: int) -> _Spans:
    """Return the spans of `length`, joined from those of 1, 2, 4, ...: two joins per binary digit at most."""
    power, joined = single, None
    while True:
        if length & power.length:
            joined = power if joined is None else _joined(power, joined)
        if 2 * power.length > length:
            assert joined is not None
            return joined
        power = _joined(power, power)


def _joined(first: _Spans, second: _Spans) -> _Spans:
    """Return the spans of each span of `first` and the one of `second` that follows it (Chan et al. 1979).

    first.length is a power of 2 and no smaller than second.length, so that both sums are compared
    without rounding.
    """
    a, b = first.length, second.length
    count = len(second.sums) - a
    before, after = first.sums[:count], second.sums[a:]
    squares = before - after if a == b else before * (b / a) - after
    squares *= squares
    squares *= a / (b * (a + b))
    if first.squares is not None:
        squares += first.squares[:count]
    if second.squares is not None:
        squares += second.squares[a:]
    return _Spans(a + b, before + after, squares)
