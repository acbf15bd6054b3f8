"""The backbone that is better than the default one."""

from __future__ import annotations

from prunebench.errors import PrunebenchError
from prunebench.parts.registry import load

BETTER = "dinov2_vitb14"  # and heavier: what it needs is told


def advice(backbone: str | None) -> str:
    """Name a better backbone than the default one, and what it needs, in one line.

    backbone: the one that was asked for. Then the advice is "".
    """
    if backbone is not None:
        return ""
    better = load().part("backbone", BETTER)
    try:
        better.ready()
    except PrunebenchError as error:
        return str(error)
    return f"--backbone {BETTER} is on this machine, and takes longer"
