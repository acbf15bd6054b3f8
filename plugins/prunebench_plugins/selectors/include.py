"""Include: the paid images are always kept, and another selector fills up the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector
from prunebench.parts.images import sliced
from prunebench_plugins.selectors.random import Random


@dataclass(frozen=True, kw_only=True)
class Include(Selector):
    """Keep every image whose label was bought, and as many of the others as `selector` is left to choose.

    No label is then paid for and thrown away. The held selector sees the unpaid images alone, set as for
    the ratio of the whole. SemiPrune, appendix C.2, where the coreset begins with the labelled images.
    """

    name: ClassVar[str] = "include"
    selector: Selector = Random()

    def __post_init__(self) -> None:
        for part in (self, self.selector):
            require(not part.per_class, f"{part.name}.per_class", True, "false where include is used")

    def needs(self) -> dict[str, bool]:
        """Return what the held selector needs, and the paid labels."""
        return {**self.selector.needs(), "known": True, "keep": True}

    def at(self, ratio: int) -> Self:
        """Return this selector with the held one as it stands at `ratio`."""
        return replace(self, selector=self.selector.at(ratio))

    def select(self, known: Array, keep: int, **inputs: Any) -> Array:
        """Return int [keep], the paid images first; raise PrunebenchError where they are more than `keep`."""
        paid = np.flatnonzero(known >= 0)
        if len(paid) > keep:
            raise PrunebenchError(
                f"include keeps all {len(paid)} paid images, but only {keep} are to be kept; "
                "lower the labeler's annotation or the ratio"
            )
        rest = np.flatnonzero(known < 0)
        inputs |= {"known": known, "keep": keep - len(paid)}
        asked = {name: inputs[name] for name in self.selector.needs() if name in inputs}
        return np.concatenate([paid, rest[self.selector.select(**sliced(asked, rest))]])  # type: ignore[attr-defined]
