"""Boards whose seeds were added until tie groups were closed: the error rate is shared among the looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from prunebench.results.separation import LEVEL, Comparison, Pair, Runs, between, compare


@dataclass(frozen=True)
class Looks:
    """The rule of a run that adds seeds, fixed before its first look.

    It looks at the seeds below `first`, and again after each further one. A look spends the share of the
    error rate that its new seeds have of the most seeds: alpha spending, linear in the seeds (Lan and DeMets
    1983). The shares add up to the error rate, so all looks together keep it, whatever they depend on.

    first: seeds of the first look.
    most: those of the last.
    """

    first: int
    most: int

    def parts(self, groups: Sequence[Runs]) -> Iterator[tuple[Sequence[Runs], float]]:
        """Yield the runs that each look saw, and the error rate that it spent."""
        last = min(self.most, max(map(len, groups), default=0))
        for seeds in range(self.first, last + 1):
            new = seeds if seeds == self.first else 1
            seen = [{seed: value for seed, value in runs.items() if seed < seeds} for runs in groups]
            yield seen, LEVEL * new / self.most


def compare_all(groups: Sequence[Runs], looks: Looks | None) -> Comparison | None:
    """Compare all pairs of groups, once or at each look. What a look separated stays so."""
    if looks is None:
        return compare(groups)
    last = None
    for seen, level in looks.parts(groups):
        found = compare(seen, level)
        if found is not None and last is not None:
            found = replace(found, above=found.above | (last.above & ~found.above.T))
        last = found or last
    return last


def compare_with(one: Runs, others: Sequence[Runs], looks: Looks | None) -> list[int]:
    """Return whether each of `others` is separated from one group, as `compare_pairs`."""
    return compare_pairs([one, *others], [(0, index) for index in range(1, 1 + len(others))], looks)


def compare_pairs(groups: Sequence[Runs], pairs: Sequence[Pair], looks: Looks | None) -> list[int]:
    """Return whether the second group of each pair is separated from the first, once or at each look.

    1: above it, -1: below it, 0: not at all.
    """
    if looks is None:
        return between(groups, pairs)
    signs = [0] * len(pairs)
    for seen, level in looks.parts(groups):
        now = between(seen, pairs, level)
        signs = [new or old for new, old in zip(now, signs, strict=True)]
    return signs
