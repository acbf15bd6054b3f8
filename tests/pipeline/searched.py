"""A scorer with a field to search, for tests of searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prunebench.parts.base import Grid, Scorer


@dataclass(frozen=True, kw_only=True)
class Powered(Scorer):
    name: ClassVar[str] = "powered"
    exponent: float = 1.0
    grids: ClassVar = (Grid(field="exponent", values=(1.0, 2.0)),)

    def score(self, dynamics):
        return dynamics.logit_margin.mean(0) ** self.exponent
