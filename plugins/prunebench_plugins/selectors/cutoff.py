"""Cutoff: double-end pruning, away with the hardest and with the easiest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from prunebench.artefacts import Array
from prunebench.errors import PrunebenchError
from prunebench.parts import Grid, Selector, require
from prunebench.sampling import share
from prunebench_plugins.selectors.top import hardest_first

# Median over datasets of the published cutoffs as printed, by ratio (SemiPrune, table 9). With SUN397's row
# read from the other end they would be 0.3, 0.5 and 0.6 at 50, 70 and 80.
DEFAULTS = {90: 0.7, 80: 0.5, 70: 0.4, 50: 0.2, 30: 0.1, 0: 0.0}
# Every tenth up to the share pruned, for each ratio anew (SemiPrune, appendix A.3).
TENTHS = Grid(field="cutoff", values=tuple(tenth / 10 for tenth in range(10)), at_most="ratio", each=True)


def check_cutoff(name: str, cutoff: float, ratio: int) -> None:
    """Raise PrunebenchError where a share `cutoff` of all images is more than `ratio` percent."""
    if cutoff > ratio / 100 + 1e-9:
        raise PrunebenchError(
            f"{name}.cutoff is {cutoff:g}, but at ratio {ratio} only {ratio / 100:g} of the images are "
            f"pruned; set it to {ratio / 100:g} or less"
        )


def drop_hardest(scores: Array, cutoff: float, keep: int, rng: np.random.Generator) -> Array:
    """Return the order of `scores` from hardest to easiest without the first share `cutoff`: int [m].

    Raise PrunebenchError where fewer than `keep` images would be left.
    """
    dropped = share(len(scores), cutoff)
    if dropped + keep > len(scores):
        raise PrunebenchError(
            f"a cutoff of {cutoff:g} drops {dropped} of {len(scores)} images, "
            f"which leaves fewer than the {keep} to keep; lower the cutoff"
        )
    return hardest_first(scores, rng)[dropped:]


@dataclass(frozen=True, kw_only=True)
class Cutoff(Selector):
    """Drop the hardest images, likely mislabelled, and keep the next hardest; the easiest go too.

    cutoff: the share of all images dropped at the hard end, from 0 to ratio / 100; unset, it follows
    the ratio: 0.1 from 30, 0.2 from 50, 0.4 from 70, 0.5 from 80, 0.7 from 90, else 0. Ties are broken
    at random. ELFS (Zheng et al. 2025); SemiPrune, section 3.4.1.
    """

    name: ClassVar[str] = "cutoff"
    grids: ClassVar[tuple[Grid, ...]] = (TENTHS,)
    cutoff: float | None = None

    def __post_init__(self) -> None:
        require(self.cutoff is None or 0 <= self.cutoff < 1, "cutoff.cutoff", self.cutoff, "in 0..1, below 1")

    def at(self, ratio: int) -> Self:
        """Return this selector with its cutoff set; raise PrunebenchError if it exceeds the ratio."""
        if self.cutoff is None:
            return replace(self, cutoff=next(value for start, value in DEFAULTS.items() if ratio >= start))
        check_cutoff(self.name, self.cutoff, ratio)
        return self

    def select(self, scores: Array, keep: int, rng: np.random.Generator) -> Array:
        """Return int [keep], unique indices in 0..n-1, hardest first."""
        if self.cutoff is None:
            raise PrunebenchError("cutoff.cutoff is not set; set it, or let Cutoff().at(ratio) do so")
        return drop_hardest(scores, self.cutoff, keep, rng)[:keep]
