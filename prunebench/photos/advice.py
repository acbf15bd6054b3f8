"""The default backbone for photos, and one that is better."""

from __future__ import annotations

from prunebench.errors import PrunebenchError
from prunebench.parts.registry import load

DEFAULT = "efficientnet_lite0"  # fast on a CPU, and its weights are in a package
PLAIN = "pixels"  # needs nothing
BETTER = "dinov2_vitb14"  # and heavier: what it needs is told


def default_backbone() -> str:
    """Return DEFAULT, or PLAIN on a machine without its weights.

    A better one is never chosen by itself. Else a download between two rounds of labels would change the
    embeddings, and make them many times slower.
    """
    return PLAIN if _lacks(DEFAULT) else DEFAULT


def advice(backbone: str | None) -> str:
    """Name the default backbone and what a better one needs, in one line.

    backbone: the one that was asked for. Then the advice is "".
    """
    if backbone is not None:
        return ""
    if lacking := _lacks(DEFAULT):
        return f"{PLAIN}, which sees little; {lacking}"
    better = f"{DEFAULT}. Better, but slower: --backbone {BETTER}"
    lacking = _lacks(BETTER)
    return f"{better}, once it is here: {lacking}" if lacking else better


def _lacks(backbone: str) -> str:
    """Return what a backbone needs that is not on this machine, or ""."""
    try:
        load().part("backbone", backbone).ready()
    except PrunebenchError as error:
        return str(error)
    return ""
