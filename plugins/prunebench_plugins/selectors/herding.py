"""Herding: keeps images whose mean follows the mean of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import choice
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Progress, Selector
from prunebench_plugins.kept import first_picks

if TYPE_CHECKING:
    import torch

BLOCK = 100  # picks made together, and between two reports of progress


@dataclass(frozen=True, kw_only=True)
class Herding(Selector):
    """Repeatedly keep the image that brings the mean of the kept images closest to the mean of all.

    After t picks with the sum S, the image x with the smallest ||(t + 1) mu - S - x|| is next. Of images with
    equal embeddings a random one is. Nothing else is random, so seeds with equal embeddings share the picks.

    backbone: backbone of the embeddings.
    pick: "nearest" = the smallest norm. "farthest" = the largest, as in DeepCore's code.

    Source: Welling 2009. The rule is iCaRL's (Rebuffi et al. 2017, arXiv 1611.07725), algorithm 4.
    """

    name: ClassVar[str] = "herding"
    version: ClassVar[int] = 2
    backbone: Backbones = "proxy"
    pick: str = "nearest"

    def __post_init__(self) -> None:
        choice("herding.pick", self.pick, ("nearest", "farthest"))

    def select(
        self, embeddings: Array, keep: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        begin = partial(self._picks, embeddings, device)
        picks = first_picks(keep, begin, self, embeddings, device=device, progress=progress)
        return swapped_among_equals(embeddings, rng)[picks]

    def _picks(self, embeddings: Array, device: str) -> Iterator[Array]:
        """Yield all images in the order of the picks, int [_] each."""
        import torch

        mean = embeddings.mean(axis=0, dtype=np.float64)
        points = torch.tensor(embeddings - mean, dtype=torch.float32, device=device)
        yield from follow_mean(points, farthest=self.pick == "farthest")


def swapped_among_equals(embeddings: Array, rng: np.random.Generator) -> Array:
    """Return a random order of the images in which each place has the embedding it had: int [n]."""
    _, group = np.unique(embeddings, axis=0, return_inverse=True)
    group = group.reshape(-1)  # NumPy 2.0 returns another shape
    swapped = np.empty(len(group), np.int64)
    swapped[group.argsort(kind="stable")] = np.lexsort((rng.random(len(group)), group))
    return swapped


def follow_mean(points: torch.Tensor, *, farthest: bool) -> Iterator[Array]:
    """Pick points whose sum stays close to 0, until all are picked. Yields int [BLOCK], the last shorter.

    Of equally good points the first is picked.

    points: float32 [n, d], with a mean of 0.

    With a mean of 0 the norm is ||S + x||. Its square is ||S||^2 + ||x||^2 + 2 x S, and ||S||^2 is equal for
    all points. So a pick costs one product of a matrix and a vector. The sum S is float64, and the products
    are computed from it each time, so errors do not accumulate.
    """
    import torch

    lengths = points.square().sum(1)
    total = points.new_zeros(points.shape[1], dtype=torch.float64)
    never_again = -torch.inf if farthest else torch.inf
    for start in range(0, len(points), BLOCK):
        # A pick stays a tensor, with a dimension: an index without one would be read on the host.
        picks = []
        for _ in range(min(BLOCK, len(points) - start)):
            squares = torch.addmv(lengths, points, total.float(), alpha=2)
            top = (squares.argmax() if farthest else squares.argmin())[None]
            picks.append(top)
            lengths[top] = never_again
            total += points[top][0]
        yield torch.cat(picks).cpu().numpy()
