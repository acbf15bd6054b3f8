"""Epoch ranges of recorded dynamics, for scorers and selectors that read early training."""

from __future__ import annotations

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array


def recorded(series: Array, start: int, stop: int, field: str) -> Array:
    """Return the epochs start..stop-1 of `series`, float32 [epochs, m].

    field: name of the field that sets `stop`, for the message.
    Raise PrunebenchError if fewer than `stop` epochs were recorded.
    """
    # The mean over a shorter range would be another score under the same name.
    if stop > len(series):
        raise PrunebenchError(
            f"{field} is {stop}, but the proxy network recorded {len(series)} epochs; "
            f"lower {field} or train the proxy longer"
        )
    return series[start:stop]
