"""Scorers: one number per training image, higher = harder."""

from __future__ import annotations

from prunebench.parts.base import Scorer
from prunebench.parts.hookspecs import hookimpl
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.correctness import Correctness
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.entropy import Entropy
from prunebench_plugins.scorers.file import File
from prunebench_plugins.scorers.forgetting import Forgetting
from prunebench_plugins.scorers.grand import Grand
from prunebench_plugins.scorers.margin import Margin
from prunebench_plugins.scorers.moderate import Moderate
from prunebench_plugins.scorers.prototypicality import Prototypicality
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation
from prunebench_plugins.scorers.tdds import Tdds
from prunebench_plugins.scorers.zcore.part import Zcore


@hookimpl
def register_scorers() -> list[type[Scorer]]:
    """Return the built-in scorers."""
    return [
        Aum,
        Correctness,
        Dual,
        DynUnc,
        El2n,
        Entropy,
        File,
        Forgetting,
        Grand,
        Margin,
        Moderate,
        Prototypicality,
        ScoreExtrapolation,
        Tdds,
        Zcore,
    ]
