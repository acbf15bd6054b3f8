"""Draws: which images to label first, before any label is known."""

from __future__ import annotations

from prunebench.parts.base import Draw
from prunebench.parts.hookspecs import hookimpl
from prunebench_plugins.draws.kcenter import KCenterDraw
from prunebench_plugins.draws.probcover import ProbCover
from prunebench_plugins.draws.typiclust import TypiClust
from prunebench_plugins.draws.uniform import Uniform
from prunebench_plugins.draws.usl import Usl
from prunebench_plugins.draws.zcore import ZcoreDraw


@hookimpl
def register_draws() -> list[type[Draw]]:
    """Return the built-in draws."""
    return [KCenterDraw, ProbCover, TypiClust, Uniform, Usl, ZcoreDraw]
