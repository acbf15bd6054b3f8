"""Labelers: give each training image a label, which is true, predicted or unknown."""

from __future__ import annotations

from prunebench.parts.base import Labeler
from prunebench.parts.hookspecs import hookimpl
from prunebench_plugins.labelers.file import File
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.labeled_only import LabeledOnly
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.probe import Probe
from prunebench_plugins.labelers.propagate import Propagate
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.labelers.withheld import Withheld
from prunebench_plugins.labelers.zeroshot import Zeroshot


@hookimpl
def register_labelers() -> list[type[Labeler]]:
    """Return the built-in labelers."""
    return [File, FixMatch, GroundTruth, LabeledOnly, NoLabeler, Probe, Propagate, Temi, Withheld, Zeroshot]
