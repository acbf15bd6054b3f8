"""Labelers: a label, true, guessed or unknown, for each training image."""

from __future__ import annotations

from prunebench.hookspecs import hookimpl
from prunebench.parts import Labeler
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.none import NoLabeler


@hookimpl
def register_labelers() -> list[type[Labeler]]:
    """Return the built-in labelers."""
    return [GroundTruth, NoLabeler]
