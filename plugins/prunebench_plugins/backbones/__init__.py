"""Backbones: from images to embeddings."""

from __future__ import annotations

from prunebench.hookspecs import hookimpl
from prunebench.parts import Backbone
from prunebench_plugins.backbones.pixels import Pixels


@hookimpl
def register_backbones() -> list[type[Backbone]]:
    """Return the built-in backbones."""
    return [Pixels]
