"""Augmentations of whole batches: uint8 tensors [b, c, h, w] in and out, random only by their generator.

The generator lives on the device of the batch, so that nothing waits for the host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from prunebench.errors import PrunebenchError

if TYPE_CHECKING:
    from prunebench.parts import Recipe

Tensor = torch.Tensor
PAD_MODES = {"reflect": "reflect", "zero": "constant"}


def augment(batch: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return the batch as `recipe` wants it augmented: cropped and mirrored at random."""
    if recipe.crop:
        batch = crop(batch, recipe.crop, recipe.padding, generator)
    return flip(batch, generator) if recipe.flip else batch


def crop(batch: Tensor, padding_px: int, mode: str, generator: torch.Generator) -> Tensor:
    """Pad every side by `padding_px` pixels, then cut each image back to its size at a random place.

    mode is "reflect" (the edge pixel is not repeated) or "zero". Raise PrunebenchError for another
    mode, and where images are too small to be reflected that far.
    """
    count, _, height, width = batch.shape
    if mode not in PAD_MODES:
        raise PrunebenchError(f"no padding named {mode!r}. Known: {', '.join(PAD_MODES)}.")
    if mode == "reflect" and padding_px >= min(height, width):
        raise PrunebenchError(
            f"cannot reflect {padding_px} pixels of images of {height} x {width}; "
            "choose a smaller crop or padding 'zero'"
        )
    padded = functional.pad(batch, (padding_px,) * 4, mode=PAD_MODES[mode])
    # Every crop there is, as a view: one gather takes each image's own.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    places = 2 * padding_px + 1
    down, right = torch.randint(places, (2, count), generator=generator, device=batch.device)
    return windows[torch.arange(count, device=batch.device), :, down, right]


def flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    chosen = torch.rand(len(batch), 1, 1, 1, generator=generator, device=batch.device) < 0.5
    return torch.where(chosen, batch.flip(3), batch)


def normalise(batch: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (batch / 255 - mean) / std: float32 [b, c, h, w] in channels_last layout.

    mean and std are per channel, in 0..1.
    """
    scale, shift = _affine(mean, std, batch.device)
    return batch.to(torch.float32, memory_format=torch.channels_last).mul_(scale).sub_(shift)


@lru_cache(maxsize=8)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    deviation = torch.tensor(std, device=device).view(-1, 1, 1)
    return 1 / (255 * deviation), torch.tensor(mean, device=device).view(-1, 1, 1) / deviation
