"""What all datasets of photos share: squares of one side, and a convention for their normalisation."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import require
from prunebench.parts.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class SquarePhotos(Dataset):
    """Photos of all sizes, stored as RGB squares of `side` pixels.

    The shorter side is shrunk or enlarged to `side`, bilinear, and the middle kept; see `squares.fill`.
    on_bad: "fail" at images that cannot be read, or "skip" them. cache: whether the squares are kept in
    DATA/decoded, or decoded anew whenever they are looked at.
    """

    side: int
    on_bad: str = "fail"
    cache: bool = True

    def __post_init__(self) -> None:
        require(self.side > 0, f"{self.name}.side", self.side, "above 0 pixels")
        require(self.on_bad in ("fail", "skip"), f"{self.name}.on_bad", self.on_bad, "'fail' or 'skip'")

    @property
    def resolution(self) -> int:
        """`side`, in pixels."""
        return self.side

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of ImageNet: a convention for photos, SemiPrune's too, not measured on these."""
        return 0.485, 0.456, 0.406

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of ImageNet, by the same convention."""
        return 0.229, 0.224, 0.225
