"""prunebench: which part of a training set is worth keeping, and what does it cost to find out?

The public names are loaded when they are first used, so that importing prunebench costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see `prunebench.signals`
if TYPE_CHECKING:
    from typing import Any

    from prunebench.api import CellsFailedError, load_subset, run
    from prunebench.artefacts import Accuracy, Dynamics, Embeddings, Labels, Scores, Subset
    from prunebench.errors import PrunebenchError
    from prunebench.evaluating import evaluate
    from prunebench.hookspecs import hookimpl
    from prunebench.images import Images
    from prunebench.parts import (
        Backbone,
        Dataset,
        Grid,
        Labeler,
        Method,
        Pretraining,
        Recipe,
        Scorer,
        Selector,
        View,
    )
    from prunebench.pruning import draw, prune
    from prunebench.results import Result

__all__ = [
    "Accuracy",
    "Backbone",
    "CellsFailedError",
    "Dataset",
    "Dynamics",
    "Embeddings",
    "Grid",
    "Images",
    "Labeler",
    "Labels",
    "Method",
    "Pretraining",
    "PrunebenchError",
    "Recipe",
    "Result",
    "Scorer",
    "Scores",
    "Selector",
    "Subset",
    "View",
    "draw",
    "evaluate",
    "hookimpl",
    "load_subset",
    "prune",
    "run",
]

_MODULES = ("artefacts", "errors", "hookspecs", "images", "parts", "results", "api", "pruning", "evaluating")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        for module in map(import_module, (f"prunebench.{module}" for module in _MODULES)):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'prunebench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
