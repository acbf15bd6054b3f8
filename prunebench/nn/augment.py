"""Augmentations of whole batches: uint8 tensors [b, c, h, w] in and out, random only by their generator.

The generator lives on the device of the batch, so that nothing waits for the host. `resized_crop` alone
returns floats, for those who go on computing with them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from prunebench.errors import PrunebenchError

if TYPE_CHECKING:
    from prunebench.parts.recipe import Recipe

Tensor = torch.Tensor
Boxes = tuple[Tensor, Tensor, Tensor, Tensor]  # top, left, height and width, each int64 [b]
PAD_MODES = {"reflect": "reflect", "zero": "constant"}
ATTEMPTS = 10  # to place a box inside the image, as in torchvision's RandomResizedCrop
LOG_ASPECT = math.log(4 / 3)  # of width to height, either way


def augment(batch: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return the batch as `recipe` wants it augmented: cut to what networks see, and mirrored, at random."""
    side = recipe.seen(batch.shape[-1])
    if recipe.resized_crop:
        batch = random_resized_crop(batch, recipe.resized_crop, side, generator)
    elif recipe.crop:
        batch = crop(batch, recipe.crop, recipe.padding, generator, side)
    else:
        batch = centre(batch, side)
    return flip(batch, generator) if recipe.flip else batch


def centre(batch: Tensor, side: int | None) -> Tensor:
    """Return what a network tested at `side` pixels sees of square images: the middle.

    None: all of them. Of images smaller than that: all, enlarged. As torchvision's CenterCrop and Resize.
    """
    resolution = batch.shape[-1]
    if side is None or side == resolution:
        return batch
    if side > resolution:
        start = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
        whole = start + resolution
        return rounded_crop(batch, (start, start, whole, whole), side)
    begin = round((resolution - side) / 2)
    return batch[:, :, begin : begin + side, begin : begin + side]


def crop(
    batch: Tensor, padding_px: int, mode: str, generator: torch.Generator, side: int | None = None
) -> Tensor:
    """Pad every side by `padding_px` pixels, then cut a square of `side` out of each image at random.

    side: in pixels; None = that of the images. mode is "reflect" (the edge pixel is not repeated) or
    "zero". Raise PrunebenchError for another mode, and where images are too small to be reflected that far.
    """
    count, _, height, width = batch.shape
    side = width if side is None else side
    if mode not in PAD_MODES:
        raise PrunebenchError(f"no padding named {mode!r}. Known: {', '.join(PAD_MODES)}.")
    if mode == "reflect" and padding_px >= min(height, width):
        raise PrunebenchError(
            f"cannot reflect {padding_px} pixels of images of {height} x {width}; "
            "choose a smaller crop or padding 'zero'"
        )
    padded = functional.pad(batch, (padding_px,) * 4, mode=PAD_MODES[mode])
    # Every crop there is, as a view: one gather takes each image's own.
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)
    places = width + 2 * padding_px - side + 1
    down, right = torch.randint(places, (2, count), generator=generator, device=batch.device)
    return windows[torch.arange(count, device=batch.device), :, down, right]


def random_resized_crop(
    batch: Tensor, area: tuple[float, float], side: int, generator: torch.Generator
) -> Tensor:
    """Cut a box out of each square image at random and resize it, as torchvision's RandomResizedCrop.

    area: see `random_boxes`. uint8 [b, c, side, side].
    """
    return rounded_crop(batch, random_boxes(len(batch), batch.shape[-1], area, generator), side)


def rounded_crop(batch: Tensor, boxes: Boxes, side: int) -> Tensor:
    """Do what `resized_crop` does, rounded where Pillow rounds: after the columns, after the rows."""
    top, left, height, width = boxes
    columns = resizing(left, width, batch.shape[3], side)[:, None].mT
    rows = resizing(top, height, batch.shape[2], side)[:, None]
    across = (batch.float() @ columns).add_(0.5).floor_()
    return (rows @ across).add_(0.5).to(torch.uint8)


def random_boxes(count: int, side: int, area: tuple[float, float], generator: torch.Generator) -> Boxes:
    """Draw boxes in square images: top, left, height and width in whole pixels, each int64 [count].

    area: the least and the largest share of the image, drawn uniformly; the aspect ratio is uniform in
    its logarithm, from 3:4 to 4:3. An image into which none of ten boxes fits is taken whole.
    """
    shape = (2, ATTEMPTS, count)
    share, aspect = torch.rand(shape, generator=generator, device=generator.device)
    pixels = side**2 * (area[0] + (area[1] - area[0]) * share)
    stretch = (LOG_ASPECT / 2 * (2 * aspect - 1)).exp()  # the square root of the aspect ratio
    sizes = torch.stack((pixels.sqrt() / stretch, pixels.sqrt() * stretch)).round().long().clamp(min=1)
    fits = (sizes <= side).all(0)
    first = fits.byte().argmax(0).expand(2, 1, -1)
    height, width = sizes.gather(1, first)[:, 0].where(fits.any(0), side)
    down, right = torch.rand(2, count, generator=generator, device=generator.device)
    return (down * (side - height + 1)).long(), (right * (side - width + 1)).long(), height, width


def resized_crop(batch: Tensor, boxes: Boxes, side: int) -> Tensor:
    """Cut a box out of each image and resize it, bilinear and antialiased: float32 [b, c, side, side]."""
    top, left, height, width = boxes
    rows = resizing(top, height, batch.shape[2], side)
    columns = resizing(left, width, batch.shape[3], side)
    return mixed(batch.float(), rows, columns)


def resizing(start: Tensor, length: Tensor, source: int, side: int) -> Tensor:
    """Return how each of `side` pixels mixes the `source` pixels of a line: float32 [b, side, source].

    start, length: int64 [b], the part of the line that is seen. The weights are a triangle as wide as
    the larger of the two kinds of pixel, cut off where that part ends, as in Pillow.
    """
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    pixel = torch.arange(source, device=start.device)
    step = length / side
    middle = start + step * (torch.arange(side, device=start.device).view(-1, 1) + 0.5)
    weights = (1 - (pixel + 0.5 - middle).abs() / step.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixel >= start) & (pixel < start + length))
    return weights / weights.sum(2, keepdim=True)


def mixed(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mix the rows and the columns of each image with weights [b, new, old] of its own."""
    return rows[:, None] @ images @ columns[:, None].mT


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
