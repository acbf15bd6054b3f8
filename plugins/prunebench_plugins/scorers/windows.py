"""The mean and the standard deviation of every window of epochs, computed by doubling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prunebench.parts.artefacts import Array

# Numbers per temporary array: 128 KiB. So all temporaries fit in a core's cache, and malloc serves them from
# the heap. Larger ones would be mapped, with cleared pages, again for every operation.
SCRATCH = 2**14


def over_windows(series: Array, window: int, combine: Callable[[Array, Array], Array]) -> Array:
    """Apply `combine` to the mean and the unbiased standard deviation of all windows: float64 [m].

    series: float [epochs, m].
    window: epochs per window, 2 or more. A window starts at every epoch from which it fits.
    combine: gets the means and the deviations of b images, each float64 [windows, b], which it may
        overwrite. Returns float64 [b].

    The deviation is exactly 0 if all values of a window are equal, and accurate if they hardly differ.
    Only differences are squared, and nothing is subtracted from a running sum. So an exponent below 1 finds
    no rounding noise to amplify.
    """
    epochs, images = series.shape
    width = max(1, SCRATCH // epochs)
    scores = np.empty(images)
    for start in range(0, images, width):
        single = _Spans(1, series[:, start : start + width].astype(np.float64), None)
        spans = _doubled(single, window)
        assert spans.squares is not None
        mean = np.divide(spans.sums, window, out=spans.sums)
        variance = np.divide(spans.squares, window - 1, out=spans.squares)
        scores[start : start + width] = combine(mean, np.sqrt(variance, out=variance))
    return scores


@dataclass(frozen=True, eq=False)
class _Spans:
    """All spans of `length` consecutive epochs, for b images.

    length: epochs per span.
    sums: float64 [spans, b].
    squares: sums of squared distances to the span's mean, float64 [spans, b]. None = all 0, at length 1.
    """

    length: int
    sums: Array
    squares: Array | None


def _doubled(single: _Spans, length: int) -> _Spans:
    """Join the spans of `length` from spans of 1, 2, 4, ... epochs: at most two joins per binary digit."""
    power = single
    joined = None
    while True:
        if length & power.length:
            joined = power if joined is None else _joined(power, joined)
        if 2 * power.length > length:
            assert joined is not None
            return joined
        power = _joined(power, power)


def _joined(first: _Spans, second: _Spans) -> _Spans:
    """Join each span of `first` with the span of `second` that follows it (Chan et al. 1979).

    first.length is a power of 2 and at least second.length. So both sums are compared without rounding.
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
