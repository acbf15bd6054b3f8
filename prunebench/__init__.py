"""prunebench: which part of a training set is worth keeping, and what does it cost to find out?"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "artefacts": ("Accuracy", "Dynamics", "Embeddings", "Labels", "Scores", "Subset"),
    "errors": ("PrunebenchError",),
    "hookspecs": ("hookimpl",),
    "images": ("Images",),
    "parts": (
        "Backbone",
        "Dataset",
        "Labeler",
        "Method",
        "Pretraining",
        "Recipe",
        "Scorer",
        "Selector",
        "View",
    ),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'prunebench' has no attribute {name!r}")
    return getattr(import_module(f"prunebench.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
