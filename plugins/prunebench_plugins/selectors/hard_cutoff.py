"""The hard cutoff: base of selectors that first drop the hardest images, which may be mislabeled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Grid, Selector
from prunebench.parts.sampling import share
from prunebench_plugins.selectors.top import hardest_first

# Every tenth up to the share pruned, tuned for each ratio (SemiPrune, appendix A.3).
TENTHS = Grid(field="cutoff", values=tuple(tenth / 10 for tenth in range(10)), at_most="ratio", each=True)


@dataclass(frozen=True, kw_only=True)
class HardCutoff(Selector):
    """Base of selectors that drop a share of the images at the hard end before they choose.

    published: default cutoff from each ratio on.
    cutoff: share of all images that is dropped, in 0..ratio / 100. None = by ratio, from `published`.
    """

    grids: ClassVar[tuple[Grid, ...]] = (TENTHS,)
    published: ClassVar[Mapping[int, float]]
    cutoff: float | None = None

    def __post_init__(self) -> None:
        fits = self.cutoff is None or 0 <= self.cutoff < 1
        require(fits, f"{self.name}.cutoff", self.cutoff, "in 0..1, below 1")

    def at(self, ratio: int) -> Self:
        """Return this selector with its cutoff set. Raise PrunebenchError if it exceeds `ratio` / 100."""
        if self.cutoff is None:
            reached = max(start for start in self.published if start <= ratio)
            return replace(self, cutoff=self.published[reached])
        if self.cutoff > ratio / 100 + 1e-9:  # tolerates rounding, as of 0.1 + 0.2 at ratio 30
            raise PrunebenchError(
                f"{self.name}.cutoff is {self.cutoff:g}, but at ratio {ratio} only {ratio / 100:g} of the "
                f"images are pruned; set it to {ratio / 100:g} or less"
            )
        return self

    def easier(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return the images that are not cut off, hardest first, ties at random: int [m], m >= keep.

        Raise PrunebenchError if fewer than `keep` images would be left, or if the cutoff is unset.
        """
        if self.cutoff is None:
            raise PrunebenchError(f"{self.name}.cutoff is not set; set it, or let `at(ratio)` do so")
        dropped = share(len(scores), self.cutoff)
        if dropped + keep > len(scores):
            raise PrunebenchError(
                f"a cutoff of {self.cutoff:g} drops {dropped} of {len(scores)} images, "
                f"which leaves fewer than the {keep} to keep; lower the cutoff"
            )
        return hardest_first(scores, rng)[dropped:]
