"""Base of all datasets of photos: squares of one size, normalized by the statistics of ImageNet."""

from __future__ import annotations

from dataclasses import dataclass

from prunebench.errors import choice, require
from prunebench.parts.dataset import Dataset, DatasetInfo


@dataclass(frozen=True, kw_only=True)
class SquarePhotos(Dataset):
    """Photos of all sizes, stored as RGB squares of `side` pixels.

    The shorter side is scaled to `side`, bilinear, and the middle square is kept. See `squares.fill`.

    side: side of the squares in pixels.
    on_bad: "fail" raises an error for images that cannot be read. "skip" leaves them out.
    cache: whether the squares are kept in DATA/decoded. If not, images are decoded on each access.
    """

    side: int
    on_bad: str = "fail"
    cache: bool = True

    def __post_init__(self) -> None:
        require(self.side > 0, f"{self.name}.side", self.side, "above 0 pixels")
        choice(f"{self.name}.on_bad", self.on_bad, ("fail", "skip"))

    @property
    def info(self) -> DatasetInfo:
        """`side`, and mean and standard deviation of ImageNet: a convention for photos, as in SemiPrune."""
        return DatasetInfo(resolution=self.side, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
