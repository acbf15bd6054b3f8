"""Scorers: one number per training image, higher = harder."""

from __future__ import annotations

from prunebench.hookspecs import hookimpl
from prunebench.parts import Scorer
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.forgetting import Forgetting


@hookimpl
def register_scorers() -> list[type[Scorer]]:
    """Return the built-in scorers."""
    return [Aum, Dual, El2n, Forgetting]
