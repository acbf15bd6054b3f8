"""Herding: keep images whose mean follows the mean of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Progress, Selector

if TYPE_CHECKING:
    import torch

REPORT = 1000  # picks between two reports of progress


@dataclass(frozen=True, kw_only=True)
class Herding(Selector):
    """Keep the image that brings the mean of the kept closest to the mean of all, again and again.

    After t picks with the sum S, the image x of the smallest ||(t + 1) mu - S - x|| is next. pick:
    "nearest" is that; "farthest" takes the largest, as DeepCore's code does. Welling 2009; the rule is
    iCaRL's (Rebuffi et al. 2017, arXiv 1611.07725), algorithm 4. Ties are broken at random.
    """

    name: ClassVar[str] = "herding"
    version: ClassVar[int] = 2
    backbone: Backbones = "proxy"
    pick: str = "nearest"

    def __post_init__(self) -> None:
        known = self.pick in ("nearest", "farthest")
        require(known, "herding.pick", self.pick, "'nearest' or 'farthest'")

    def select(
        self, embeddings: Array, keep: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        import torch

        # In a random order the first of several is a random one.
        order = rng.permutation(len(embeddings))
        centre = embeddings.mean(axis=0, dtype=np.float64)
        points = torch.tensor(embeddings[order] - centre, dtype=torch.float32, device=device)
        return order[follow_mean(points, keep, farthest=self.pick == "farthest", progress=progress)]


def follow_mean(points: torch.Tensor, keep: int, *, farthest: bool, progress: Progress) -> Array:
    """Pick `keep` of the points, float32 [n, d] with a mean of 0, so that their sum stays at 0: int [keep].

    Of equally good points the first is picked.
    With the mean at 0 the distance is ||S + x||, and its square, but for ||S||^2, is ||x||^2 + 2 x S: one
    product of a matrix and a vector for each pick, nothing that runs on and gathers errors. S is float64.
    """
    import torch

    lengths = points.square().sum(1)
    total = points.new_zeros(points.shape[1], dtype=torch.float64)
    chosen = torch.empty(keep, dtype=torch.int64, device=points.device)
    taken = -torch.inf if farthest else torch.inf
    for step in range(keep):
        # Nothing here waits for the device: the pick stays a tensor.
        squares = torch.addmv(lengths, points, total.float(), alpha=2)
        top = squares.argmax() if farthest else squares.argmin()
        chosen[step] = top
        lengths[top] = taken
        total += points[top]
        if (step + 1) % REPORT == 0:
            progress(step + 1, keep)
    return chosen.cpu().numpy()
