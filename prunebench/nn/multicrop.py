"""Random crops of whole batches for self-supervised training: resized, mirrored, jittered, blurred.

uint8 tensors [b, c, r, r] in, float32 in 0..255 out. Nothing is rounded between the steps.
Source: the multi-crop of SwAV (Caron et al. 2020, section 3.3) with the color distortion of SimCLR.

Images have three channels, or one. One channel counts as three equal ones, so saturation and hue change
nothing then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from prunebench.nn import processes
from prunebench.nn.augment import flip, mixed, random_boxes, resized_crop

Tensor = torch.Tensor
HUE = 0.25  # turns of the color circle at a jitter of 1
JITTERED, GRAY, BLURRED = 0.8, 0.2, 0.5  # shares of the images
SIGMA = 0.1  # standard deviation of the weakest blur, in pixels
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2


@dataclass(frozen=True, kw_only=True)
class Crops:
    """The settings of crops of one size.

    count: crops per image.
    side: of a crop, in pixels.
    smallest, largest: least and largest share of the image's area that a crop covers, in 0..1.
    flip: whether to mirror half of the crops.
    jitter: largest change of brightness, contrast and saturation, in 0..1. 0 turns off all color distortion.
    blur: standard deviation of the strongest Gaussian blur, in pixels. 0 turns off the blur.
    """

    count: int
    side: int
    smallest: float
    largest: float
    flip: bool
    jitter: float
    blur: float


def multicrop(batch: Tensor, crops: Crops, generator: torch.Generator) -> Tensor:
    """Return random crops: float32 [count * b, c, side, side] in 0..255.

    The first b are a crop of every image, the next b another crop of every image, and so on.

    batch: uint8 [b, c, r, r].
    """
    batch = batch.repeat(crops.count, 1, 1, 1)
    area = (crops.smallest, crops.largest)
    pictures = resized_crop(batch, random_boxes(len(batch), batch.shape[-1], area, generator), crops.side)
    if crops.flip:
        pictures = flip(pictures, generator)
    if crops.jitter:
        pictures = distort(pictures, crops.jitter, generator)
    return random_blur(pictures, crops.blur, generator) if crops.blur else pictures


def distort(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Jitter the colors of 80 % of the images, each in a random order, and turn 20 % gray.

    strength: largest change, in 0..1.
    """
    count = len(images)
    draws = processes.rand((2 * len(OPERATIONS) + 2, count), generator)
    order = draws[:4].argsort(0)
    uniform = draws[4:8]
    jittered, gray = draws[8:]
    amounts = strength * (2 * uniform - 1) * (jittered < JITTERED)
    images = jitter(images, order, amounts)
    return torch.where(column(gray < GRAY), luma(images), images)


def jitter(images: Tensor, order: Tensor, amounts: Tensor) -> Tensor:
    """Apply all four OPERATIONS to each image.

    order: int64 [4, b], indices of the operations to apply first, second, third and fourth.
    amounts: float [4, b], in the order of OPERATIONS. 0 changes nothing.
    """
    if images.device.type != "cpu":
        return jitter_without_waiting(images, order, amounts)
    for chosen in order:
        # Sort the images by operation, so that each operation runs once, on all of its images.
        rows = chosen.argsort()
        sizes = chosen.bincount(minlength=len(OPERATIONS)).tolist()
        groups = torch.split(images[rows], sizes)
        group_amounts = torch.split(amounts.gather(0, chosen[None])[0, rows], sizes)
        outputs = []
        for operation, group, amount in zip(OPERATIONS, groups, group_amounts, strict=True):
            outputs.append(operation(group, column(amount)))
        images = torch.empty_like(images).index_copy_(0, rows, torch.cat(outputs))
    return images


def jitter_without_waiting(images: Tensor, order: Tensor, amounts: Tensor) -> Tensor:
    """Return what `jitter` does, but for the last digits, without reading a value on the host.

    Sorting images by operation needs the number of images of each operation, and the host waits for it. Here
    all images pass seven steps. The one in the middle is hue, which takes the most arithmetic. The three
    before it and the three after it blend an image with black, its mean gray or its gray pixels. They leave
    an image alone where its own order has hue by then, or not yet.
    """
    numbers = {operation: number for number, operation in enumerate(OPERATIONS)}
    turn = (order == numbers[hue]).byte().argmax(0)  # the place of hue

    def blended(images: Tensor, place: int, due: Tensor) -> Tensor:
        """Apply what comes at this place of the order to the images for which it is due, bool [b]."""
        chosen = order[place]
        amount = amounts.gather(0, chosen[None])[0] * due
        gray = luma(images)
        base = torch.where(column(chosen == numbers[contrast]), gray.mean((2, 3), keepdim=True), gray)
        base = torch.where(column(chosen == numbers[brightness]), 0, base)
        return (images + column(amount) * (images - base)).clamp_(0, 255)

    for place in range(3):
        images = blended(images, place, place < turn)
    images = hue(images, column(amounts[numbers[hue]]))
    for place in range(1, 4):
        images = blended(images, place, place > turn)
    return images


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    """Multiply by 1 + amount."""
    return (images * (1 + amount)).clamp_(0, 255)


def contrast(images: Tensor, amount: Tensor) -> Tensor:
    """Multiply the difference from the mean gray by 1 + amount."""
    mean = luma(images).mean((2, 3), keepdim=True)
    return (images + amount * (images - mean)).clamp_(0, 255)


def saturation(images: Tensor, amount: Tensor) -> Tensor:
    """Multiply the difference from each pixel's gray by 1 + amount."""
    return (images + amount * (images - luma(images))).clamp_(0, 255)


def hue(images: Tensor, amount: Tensor) -> Tensor:
    """Turn the color circle by amount / 4 turns, with the same value and saturation (of HSV)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    # The position on the circle, in sixths of a turn: red is at 0, green at 2, blue at 4.
    start = torch.where(value == red, 0, torch.where(value == green, 2, 4))
    aside = torch.where(value == green, blue - red, red - green)
    aside = torch.where(value == red, green - blue, aside) / chroma.where(chroma > 0, 1)
    offsets = torch.arange(5, 0, -2, device=images.device).view(-1, 1, 1)
    position = ((start + aside)[:, None] + 6 * HUE * amount + offsets) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(position, 4 - position).clamp_(0, 1)


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (brightness, contrast, saturation, hue)


def random_blur(images: Tensor, strongest: float, generator: torch.Generator) -> Tensor:
    """Blur half of the images, each with a random standard deviation from 0.1 pixels to `strongest`."""
    uniform, chosen = processes.rand((2, len(images)), generator)
    sigma = (SIGMA + (strongest - SIGMA) * uniform) * (chosen < BLURRED)
    return blur(images, sigma)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each square image by a Gaussian. The edges mirror the image without repeating the edge pixel.

    sigma: float [b], standard deviations in pixels. 0 leaves an image as it is.
    """
    weights = blurring(sigma, images.shape[2])
    return mixed(images, weights, weights)


def blurring(sigma: Tensor, side: int) -> Tensor:
    """Return the weights that blur a line of pixels: float32 [b, side, side].

    Row i holds the weights of all old pixels in the new pixel i.
    """
    position = torch.arange(side, device=sigma.device)
    # A line and its mirror images on both sides. The end pixels are their own mirror images.
    mirrored = torch.cat((-position[1:], 2 * (side - 1) - position[:-1]))
    distance = (torch.cat((position, mirrored)) - position[:, None]) / sigma.clamp(min=1e-3).view(-1, 1, 1)
    weights = (-distance.square() / 2).exp()
    near, before, after = torch.split(weights, [side, side - 1, side - 1], dim=2)
    near[..., 1:] += before
    near[..., :-1] += after
    return near / near.sum(2, keepdim=True)


def luma(images: Tensor) -> Tensor:
    """Return the gray value of each pixel: [k, 1, h, w]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def column(values: Tensor) -> Tensor:
    """Return one value per image, [k], as [k, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
