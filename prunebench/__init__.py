"""prunebench: which part of a training set is worth keeping, and what does it cost to find out?

The public names are loaded when they are first used, so that importing prunebench costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see `prunebench.system.signals`
if TYPE_CHECKING:
    from typing import Any

    from prunebench.api import CellsFailedError, load_subset, run
    from prunebench.errors import PrunebenchError
    from prunebench.parts.artefacts import (
        Accuracy,
        Dynamics,
        Embeddings,
        Labels,
        PseudoLabels,
        Scores,
        Subset,
        Weights,
    )
    from prunebench.parts.base import Backbone, Draw, Grid, Labeler, Pretraining, Scorer, Selector
    from prunebench.parts.dataset import Dataset, DatasetInfo, View
    from prunebench.parts.hookspecs import hookimpl
    from prunebench.parts.images import Images
    from prunebench.parts.method import Method
    from prunebench.parts.recipe import Recipe
    from prunebench.photos.evaluate import evaluate
    from prunebench.photos.prune import draw, prune
    from prunebench.photos.recommend import recommend
    from prunebench.results.rows import Result

__all__ = [
    "Accuracy",
    "Backbone",
    "CellsFailedError",
    "Dataset",
    "DatasetInfo",
    "Draw",
    "Dynamics",
    "Embeddings",
    "Grid",
    "Images",
    "Labeler",
    "Labels",
    "Method",
    "Pretraining",
    "PrunebenchError",
    "PseudoLabels",
    "Recipe",
    "Result",
    "Scorer",
    "Scores",
    "Selector",
    "Subset",
    "View",
    "Weights",
    "draw",
    "evaluate",
    "hookimpl",
    "load_subset",
    "prune",
    "recommend",
    "run",
]

_MODULES = (
    *("errors", "parts.artefacts", "parts.images", "parts.recipe", "parts.base", "parts.dataset"),
    *("parts.method", "parts.hookspecs"),
    *("results.rows", "photos.prune", "photos.evaluate", "photos.recommend", "api"),
)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        for module in map(import_module, (f"prunebench.{module}" for module in _MODULES)):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'prunebench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
