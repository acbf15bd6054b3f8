"""Random crops of whole batches for self-supervised training: resized, mirrored, jittered, blurred.

uint8 tensors [b, c, r, r] in, float32 in 0..255 out: nothing is rounded between the steps. An image has
three channels, or one, which is treated as three equal ones: then saturation and hue change nothing.
Source: the multi-crop of SwAV (Caron et al. 2020, section 3.3) with the colour distortion of SimCLR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from prunebench.nn.augment import flip, mixed, random_boxes, resized_crop

Tensor = torch.Tensor
HUE = 0.25  # strength of the hue jitter, in turns of the colour circle, as a share of the others'
JITTERED, GREY, BLURRED = 0.8, 0.2, 0.5  # shares of the images
SIGMA = 0.1  # of the weakest blur, in pixels
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Equal crops of an image: `count` of `side` pixels, covering `smallest` to `largest` of its area.

    flip: mirror half of them. jitter: how far brightness, contrast and saturation are scaled at most,
    in 0..1; 0 = no colour distortion at all. blur: standard deviation of the strongest Gaussian blur,
    in pixels; 0 = none.
    """

    count: int
    side: int
    smallest: float
    largest: float
    flip: bool
    jitter: float
    blur: float


def multicrop(batch: Tensor, crops: Crops, generator: torch.Generator) -> Tensor:
    """Return random crops: float32 [count * b, c, side, side] in 0..255, one of every image, then again."""
    batch = batch.repeat(crops.count, 1, 1, 1)
    area = (crops.smallest, crops.largest)
    pictures = resized_crop(batch, random_boxes(len(batch), batch.shape[-1], area, generator), crops.side)
    if crops.flip:
        pictures = flip(pictures, generator)
    if crops.jitter:
        pictures = distort(pictures, crops.jitter, generator)
    return random_blur(pictures, crops.blur, generator) if crops.blur else pictures


def distort(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Jitter the colours of most images, in an order drawn for each, and turn some grey."""
    count = len(images)
    draws = torch.rand(2 * len(OPERATIONS) + 2, count, generator=generator, device=images.device)
    order, uniform, (jittered, grey) = draws[:4].argsort(0), draws[4:8], draws[8:]
    amounts = strength * (2 * uniform - 1) * (jittered < JITTERED)
    images = jitter(images, order, amounts)
    return torch.where(column(grey < GREY), luma(images), images)


def jitter(images: Tensor, order: Tensor, amounts: Tensor) -> Tensor:
    """Apply all OPERATIONS to each image.

    order: int64 [4, b], the place in OPERATIONS of what is applied first, second, ... amounts: float
    [4, b], in the order of OPERATIONS; 0 changes nothing.
    """
    for chosen in order:
        rows = chosen.argsort()
        sizes = chosen.bincount(minlength=len(OPERATIONS)).tolist()
        amount = amounts.gather(0, chosen[None])[0, rows]
        groups = zip(OPERATIONS, torch.split(images[rows], sizes), torch.split(amount, sizes), strict=True)
        done = [operation(group, column(a)) for operation, group, a in groups]
        images = torch.empty_like(images).index_copy_(0, rows, torch.cat(done))
    return images


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    """Multiply by 1 + amount."""
    return (images * (1 + amount)).clamp_(0, 255)


def contrast(images: Tensor, amount: Tensor) -> Tensor:
    """Multiply the difference to the mean grey by 1 + amount."""
    mean = luma(images).mean((2, 3), keepdim=True)
    return (images + amount * (images - mean)).clamp_(0, 255)


def saturation(images: Tensor, amount: Tensor) -> Tensor:
    """Multiply the difference to each pixel's grey by 1 + amount."""
    return (images + amount * (images - luma(images))).clamp_(0, 255)


def hue(images: Tensor, amount: Tensor) -> Tensor:
    """Turn the colour circle by amount / 4 turns, at constant value and saturation (of HSV)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    # The place on the circle in sixths of it: red is at 0, green at 2, blue at 4.
    start = torch.where(value == red, 0, torch.where(value == green, 2, 4))
    aside = torch.where(value == green, blue - red, red - green)
    aside = torch.where(value == red, green - blue, aside) / chroma.where(chroma > 0, 1)
    offsets = torch.arange(5, 0, -2, device=images.device).view(-1, 1, 1)
    place = ((start + aside)[:, None] + 6 * HUE * amount + offsets) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (brightness, contrast, saturation, hue)


def random_blur(images: Tensor, strongest: float, generator: torch.Generator) -> Tensor:
    """Blur half of the images, each by a standard deviation of its own, from 0.1 pixels to `strongest`."""
    uniform, chosen = torch.rand(2, len(images), generator=generator, device=images.device)
    return blur(images, (SIGMA + (strongest - SIGMA) * uniform) * (chosen < BLURRED))


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each square image by a Gaussian; the edge mirrors, its pixel not repeated.

    sigma: float [b], in pixels; 0 leaves an image as it is.
    """
    weights = blurring(sigma, images.shape[2])
    return mixed(images, weights, weights)


def blurring(sigma: Tensor, side: int) -> Tensor:
    """Return how each pixel of a line mixes all: float32 [b, side, side]."""
    place = torch.arange(side, device=sigma.device)
    # A line and its two mirror images; the pixels at its ends are their own.
    mirrored = torch.cat((-place[1:], 2 * (side - 1) - place[:-1]))
    distance = (torch.cat((place, mirrored)) - place[:, None]) / sigma.clamp(min=1e-3).view(-1, 1, 1)
    weights = (-distance.square() / 2).exp()
    near, before, after = torch.split(weights, [side, side - 1, side - 1], dim=2)
    near[..., 1:] += before
    near[..., :-1] += after
    return near / near.sum(2, keepdim=True)


def luma(images: Tensor) -> Tensor:
    """Return the grey of each pixel: [k, 1, h, w]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def column(values: Tensor) -> Tensor:
    """Return one value per image, [k], as [k, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
