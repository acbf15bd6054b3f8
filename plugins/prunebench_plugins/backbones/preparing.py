"""The preparation of images for a pretrained network, and a network behind it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from prunebench.nn.augment import normalize

Tensor = torch.Tensor


class Prepared(nn.Module):
    """A pretrained network that is shown pixels: it prepares them as its pretraining did.

    network: maps float [b, 3, side, side] to features, float [b, d].
    side, mean, std: as for `prepare`.
    """

    def __init__(
        self, network: nn.Module, side: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.network = network
        self.side, self.mean, self.std = side, mean, std

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of pixels in 0..255, float [b, 1 or 3, r, r]: float [b, d]."""
        return self.network(prepare(pixels, self.side, self.mean, self.std))  # type: ignore[no-any-return]


def prepare(batch: Tensor, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Turn pixels in 0..255, [b, 1 or 3, r, r], into normalized float32 [b, 3, side, side].

    Resizes as Pillow does: bicubic and antialiased, first within rows, then within columns. Each pass rounds
    and clips to 0..255.
    """
    pixels = batch.float()
    if (resolution := batch.shape[-1]) != side:
        for size in ((resolution, side), (side, side)):
            pixels = functional.interpolate(pixels, size=size, mode="bicubic", antialias=True)
            pixels = pixels.round_().clamp_(0, 255)
    return normalize(pixels.repeat(1, 3 // batch.shape[1], 1, 1), mean, std)
