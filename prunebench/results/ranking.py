"""The methods of a column in order, as far as their seeds tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prunebench.results.cells import Between, Gap
from prunebench.results.looks import Looks, compare_all
from prunebench.results.separation import Comparison, Runs


@dataclass(frozen=True)
class Ranking:
    """What the seeds of one ratio say of the methods that are ranked there.

    methods: their names.
    comparison: None where there are fewer than two methods, or no spread is known.
    """

    methods: tuple[str, ...] = ()
    comparison: Comparison | None = None
    _places: Mapping[str, Between] = field(default_factory=dict)

    @classmethod
    def of(cls, column: Mapping[str, Runs], looks: Looks | None = None) -> Ranking:
        """Rank methods by the values of their runs.

        looks: the rule by which seeds were added, if they were.
        """
        found = compare_all([*column.values()], looks)
        if found is None:
            return cls(tuple(column))
        ties: Sequence[int | None] = found.ties if max(found.ties) > 1 else [None] * len(column)
        places = {
            method: Between(best, worst, "rank", tie)
            for method, (best, worst), tie in zip(column, found.ranks, ties, strict=True)
        }
        return cls(tuple(column), found, places)

    def place(self, method: str) -> Between | Gap:
        """Return the ranks that the seeds allow a method, with its tie group if there are several."""
        return self._places.get(method, Gap())

    @property
    def tied(self) -> set[str]:
        """The methods that share their tie group with another, or all where no spread is known."""
        if self.comparison is None:
            return set(self.methods) if len(self.methods) > 1 else set()
        ties = self.comparison.ties
        return {method for method, tie in zip(self.methods, ties, strict=True) if ties.count(tie) > 1}

    def mark(self, method: str) -> int | None:
        """Return 1 for a method that can only be the best, 2 for one that can only be the second."""
        place = self._places.get(method)
        if place is None or place.low != place.high or place.low > 2:
            return None
        return int(place.low)
