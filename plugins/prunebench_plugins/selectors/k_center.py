"""k-center: keep images so that no image is far from a kept one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prunebench.errors import require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Backbones, Progress, Selector

if TYPE_CHECKING:
    import torch

FRONT = 512  # how many of the farthest images compete before all distances are brought up to date
CHUNK = 2**26  # numbers in the largest temporary tensor


@dataclass(frozen=True, kw_only=True)
class KCenter(Selector):
    """Begin with a random image, then keep the one farthest from all that are kept, again and again.

    metric: "euclidean" or "cosine". Sener and Savarese 2018 (arXiv 1708.00489), algorithm 1: at most twice
    the smallest possible radius. Of images equally far, a random one is kept.
    """

    name: ClassVar[str] = "k_center"
    backbone: Backbones = "resnet18_imagenet"
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        known = self.metric in ("euclidean", "cosine")
        require(known, "k_center.metric", self.metric, "'euclidean' or 'cosine'")

    def select(
        self, embeddings: Array, keep: int, rng: np.random.Generator, device: str, progress: Progress
    ) -> Array:
        """Return int [keep], unique indices in 0..n-1, in the order of the picks."""
        import torch
        from torch.nn import functional

        # In a random order the first of several is a random one.
        order = rng.permutation(len(embeddings))
        points = torch.tensor(embeddings[order], dtype=torch.float32, device=device)
        if self.metric == "cosine":
            points = functional.normalize(points)
            lengths = points.new_ones(len(points))  # of a zero vector too: it is at 1 from all
        else:
            points -= points.mean(0)  # keeps what the products cancel small
            lengths = points.square().sum(1)
        return order[farthest_first(points, lengths, keep, progress)]


def farthest_first(points: torch.Tensor, lengths: torch.Tensor, keep: int, progress: Progress) -> Array:
    """Pick the first point, then `keep - 1` times the one farthest from all picks: int [keep].

    points: float [n, d]; lengths: their squared lengths. Of points equally far the first is picked.

    A distance to the nearest pick never grows. So the points that are farthest compete among themselves
    until none is as far as the next one outside was; then one matrix product brings all distances up to
    date. The picks are the same as with one product of a matrix and a vector for each.
    """
    n = len(points)
    gaps = points.new_full((n,), np.inf)  # squared distances to the nearest pick, -1 for picks
    chosen: list[int] = [0][:keep]
    fresh = chosen
    while len(chosen) < keep:
        approach(gaps, points, lengths, fresh)
        values, places = gaps.sort(descending=True, stable=True)
        limit, after = (float(values[FRONT]), int(places[FRONT])) if n > FRONT else (-1.0, n)
        rivals = places[:FRONT].sort().values
        mutual = squares(points[rivals], lengths[rivals], points[rivals], lengths[rivals]).cpu().numpy()
        reach, names = gaps[rivals].cpu().numpy(), rivals.cpu().numpy()
        fresh = []
        while len(chosen) + len(fresh) < keep:
            top = int(reach.argmax())
            if (-reach[top], names[top]) > (-limit, after):
                break
            fresh.append(int(names[top]))
            np.minimum(reach, mutual[top], out=reach)
            reach[top] = -1
        chosen = chosen + fresh
        progress(len(chosen), keep)
    return np.array(chosen, np.int64)


def approach(gaps: torch.Tensor, points: torch.Tensor, lengths: torch.Tensor, fresh: list[int]) -> None:
    """Lower `gaps` to the squared distance to the nearest of the points `fresh`, -1 for these, in chunks."""
    rows = max(1, CHUNK // len(fresh))
    for start in range(0, len(points), rows):
        part = slice(start, start + rows)
        found = squares(points[part], lengths[part], points[fresh], lengths[fresh])
        gaps[part] = gaps[part].minimum(found.amin(1))
    gaps[fresh] = -1


def squares(
    rows: torch.Tensor, lengths: torch.Tensor, columns: torch.Tensor, others: torch.Tensor
) -> torch.Tensor:
    """Return the squared distances from each row to each column, whose squared lengths are given beside."""
    import torch

    return torch.addmm(others, rows, columns.T, alpha=-2).add_(lengths[:, None]).clamp_(min=0)
