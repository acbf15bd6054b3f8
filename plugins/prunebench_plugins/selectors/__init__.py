"""Selectors: choose exactly `keep` images, by scores, embeddings or at random."""

from __future__ import annotations

from prunebench.parts.base import Selector
from prunebench.parts.hookspecs import hookimpl
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.d2 import D2
from prunebench_plugins.selectors.draw import Drawn
from prunebench_plugins.selectors.facility_location import FacilityLocation
from prunebench_plugins.selectors.file import File
from prunebench_plugins.selectors.herding import Herding
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.k_center import KCenter
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.stratified import Stratified
from prunebench_plugins.selectors.top import Top


@hookimpl
def register_selectors() -> list[type[Selector]]:
    """Return the built-in selectors."""
    return [
        Annotated,
        Beta,
        Cutoff,
        D2,
        Drawn,
        FacilityLocation,
        File,
        Herding,
        Include,
        KCenter,
        Random,
        Stratified,
        Top,
    ]
