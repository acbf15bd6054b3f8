"""Augmentations of whole batches: uint8 tensors [b, c, h, w] in and out.

All randomness comes from the generator. It lives on the device of the batch, so that nothing waits for the
host. `resized_crop` alone returns floats, for callers that compute on without rounding. Pixels are computed
in IEEE float32, whatever the precision of the network that sees them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from prunebench.errors import PrunebenchError
from prunebench.nn import processes
from prunebench.parts.precision import arithmetic

if TYPE_CHECKING:
    from prunebench.parts.recipe import Recipe

Tensor = torch.Tensor
Boxes = tuple[Tensor, Tensor, Tensor, Tensor]  # top, left, height and width, each int64 [b]
PAD_MODES = {"reflect": "reflect", "zero": "constant"}
ATTEMPTS = 10  # draws of a box that fits the image, as in torchvision's RandomResizedCrop
LOG_ASPECT = math.log(4 / 3)  # largest logarithm of the aspect ratio, either way


def augment(batch: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return the batch, randomly cropped to the input size of the network and mirrored, as `recipe` says."""
    side = recipe.seen(batch.shape[-1])
    if recipe.resized_crop:
        batch = random_resized_crop(batch, recipe.resized_crop, side, generator)
    elif recipe.crop:
        batch = crop(batch, recipe.crop, recipe.padding, generator, side)
    else:
        batch = center(batch, side)
    return flip(batch, generator) if recipe.flip else batch


def center(batch: Tensor, side: int | None) -> Tensor:
    """Return the central `side` x `side` pixels of square images, as torchvision's CenterCrop.

    Smaller images are enlarged to that size, as by torchvision's Resize.

    batch: uint8 [b, c, r, r].
    side: in pixels. None returns the batch as it is.
    """
    resolution = batch.shape[-1]
    if side is None or side == resolution:
        return batch
    if side > resolution:
        start = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
        length = start + resolution
        return rounded_crop(batch, (start, start, length, length), side)
    begin = round((resolution - side) / 2)
    return batch[:, :, begin : begin + side, begin : begin + side]


def crop(
    batch: Tensor, padding_px: int, mode: str, generator: torch.Generator, side: int | None = None
) -> Tensor:
    """Pad every edge, then cut a random square out of each image: uint8 [b, c, side, side].

    padding_px: in pixels.
    mode: "zero", or "reflect", which does not repeat the edge pixel.
    side: of the square, in pixels. None is the width of the images.

    Raise PrunebenchError for another mode.
    Raise PrunebenchError if the images are too small to be reflected that far.
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
    # All possible crops, as a view without a copy. One gather takes one crop of each image.
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)
    positions = width + 2 * padding_px - side + 1
    down, right = processes.randint(positions, (2, count), generator)
    return windows[torch.arange(count, device=batch.device), :, down, right]


def random_resized_crop(
    batch: Tensor, area: tuple[float, float], side: int, generator: torch.Generator
) -> Tensor:
    """Cut a random box out of each square image and resize it, as torchvision's RandomResizedCrop.

    batch: uint8 [b, c, r, r].
    area: see `random_boxes`.
    side: of the result, in pixels.

    Return uint8 [b, c, side, side].
    """
    return rounded_crop(batch, random_boxes(len(batch), batch.shape[-1], area, generator), side)


@arithmetic("fp32")  # in TF32 some pixels would be two gray levels off
def rounded_crop(batch: Tensor, boxes: Boxes, side: int) -> Tensor:
    """Cut and resize as `resized_crop`, but round as Pillow does: after the columns and after the rows.

    Return uint8 [b, c, side, side].
    """
    top, left, height, width = boxes
    columns = resizing(left, width, batch.shape[3], side)[:, None].mT
    rows = resizing(top, height, batch.shape[2], side)[:, None]
    across = (batch.float() @ columns).add_(0.5).floor_()
    return (rows @ across).add_(0.5).to(torch.uint8)


def random_boxes(count: int, side: int, area: tuple[float, float], generator: torch.Generator) -> Boxes:
    """Draw boxes in square images: top, left, height and width in pixels, each int64 [count].

    The area is uniform in `area`. The logarithm of the aspect ratio is uniform between 3:4 and 4:3. Of ten
    drawn sizes, the first that fits counts. If none fits, the box is the whole image.

    count: number of boxes.
    side: of the images, in pixels.
    area: least and largest share of the image, in 0..1.
    """
    shape = (2, ATTEMPTS, count)
    share, aspect = processes.rand(shape, generator)
    pixels = side**2 * (area[0] + (area[1] - area[0]) * share)
    stretch = (LOG_ASPECT / 2 * (2 * aspect - 1)).exp()  # the square root of the aspect ratio
    sizes = torch.stack((pixels.sqrt() / stretch, pixels.sqrt() * stretch)).round().long().clamp(min=1)
    fits = (sizes <= side).all(0)
    first = fits.byte().argmax(0).expand(2, 1, -1)
    height, width = sizes.gather(1, first)[:, 0].where(fits.any(0), side)
    down, right = processes.rand((2, count), generator)
    return (down * (side - height + 1)).long(), (right * (side - width + 1)).long(), height, width


def resized_crop(batch: Tensor, boxes: Boxes, side: int) -> Tensor:
    """Cut a box out of each image and resize it, bilinear and antialiased: float32 [b, c, side, side].

    boxes: see `random_boxes`.
    side: of the result, in pixels.
    """
    top, left, height, width = boxes
    rows = resizing(top, height, batch.shape[2], side)
    columns = resizing(left, width, batch.shape[3], side)
    return mixed(batch.float(), rows, columns)


def resizing(start: Tensor, length: Tensor, source: int, side: int) -> Tensor:
    """Return the weights that resize part of a line of pixels: float32 [b, side, source].

    Row i holds the weights of the `source` old pixels in the new pixel i. The weights form a triangle as wide
    as the larger of an old and a new pixel, cut off at the ends of the part, as in Pillow.

    start: int64 [b], first pixel of the part.
    length: int64 [b], pixels of the part.
    source: pixels of the line.
    side: pixels of the result.
    """
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    pixel = torch.arange(source, device=start.device)
    step = length / side
    middle = start + step * (torch.arange(side, device=start.device).view(-1, 1) + 0.5)
    weights = (1 - (pixel + 0.5 - middle).abs() / step.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixel >= start) & (pixel < start + length))
    return weights / weights.sum(2, keepdim=True)


@arithmetic("fp32")
def mixed(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply each image by weights of its own: float32 [b, c, new height, new width].

    rows: float32 [b, new height, old height].
    columns: float32 [b, new width, old width].
    """
    return rows[:, None] @ images @ columns[:, None].mT


def flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirrored = processes.rand((len(batch),), generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(3), batch)


def normalize(batch: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (batch / 255 - mean) / std: float32 [b, c, h, w] in channels_last layout.

    batch: [b, c, h, w] in 0..255.
    mean, std: per channel, in 0..1.
    """
    scale, shift = _affine(mean, std, batch.device)
    return batch.to(torch.float32, memory_format=torch.channels_last).mul_(scale).sub_(shift)


@lru_cache(maxsize=8)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift of `normalize`: float32 [c, 1, 1] each. Cached, to spare a transfer."""
    deviation = torch.tensor(std, device=device).view(-1, 1, 1)
    scale = 1 / (255 * deviation)
    shift = torch.tensor(mean, device=device).view(-1, 1, 1) / deviation
    return scale, shift
