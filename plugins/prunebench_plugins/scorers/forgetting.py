"""Forgetting: how often a correct prediction was wrong again one epoch later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import choice
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Scorer


@dataclass(frozen=True, kw_only=True)
class Forgetting(Scorer):
    """Number of forgetting events: epochs with a wrong prediction right after a correct one.

    never_learned: score of an image that was never predicted correctly. "zero" is 0, as in all released
        pruning code. "max" is the number of epochs, above every other image: Toneva et al. 2019 call it
        infinite.
    """

    name: ClassVar[str] = "forgetting"
    never_learned: str = "zero"

    def __post_init__(self) -> None:
        choice("forgetting.never_learned", self.never_learned, ("zero", "max"))

    def score(self, dynamics: Dynamics) -> Array:
        """Return float64 [m], one count per image in `dynamics.index`, in 0..epochs."""
        correct = dynamics.correct
        events: Array = (correct[:-1] & ~correct[1:]).sum(axis=0).astype(np.float64)
        if self.never_learned == "max":
            events[~correct.any(axis=0)] = dynamics.epochs
        return events
