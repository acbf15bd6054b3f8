"""Five corruptions of images, bit for bit as the code published for them makes them, and fixed.

Source: Moderate-DS (X. Xia et al., ICLR 2023), whose scripts for CIFAR-100 and Tiny-ImageNet SemiPrune
uses (section 4.2.2); their constants hold for 32 and 64 pixels. Each function takes and returns uint8
[m, channels, side, side]. The published code makes bytes of numbers in 0..1, so that its fog is black,
and of negative ones, so that its noise wraps around; `fixed` mends these two and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prunebench.parts.artefacts import Array

UNIT = 32  # the motion kernel is interpolated in steps of 1/32 of a pixel
FRACTION = 2**22  # the unit of Pillow's integer resampling weights


@dataclass(frozen=True)
class Constants:
    """What depends on the resolution.

    In pixels: the size of the motion kernel, the side of the image of low resolution, the extent of
    the black box. Fog has `depth` at the centre and `thinning` less per pixel away from it.
    """

    kernel: int
    low: int
    box: slice
    depth: float
    thinning: float


def constants(side: int) -> Constants:
    """Return the published constants for 32 and 64 pixels; for other sides those for 32, in proportion."""
    if side == 64:
        return Constants(kernel=15, low=16, box=slice(5, 46), depth=math.sqrt(64), thinning=0.04)
    return Constants(
        kernel=15 * side // 32 | 1,  # odd, so that it has a centre
        low=side // 4,
        box=slice(5 * side // 32, 21 * side // 32),
        depth=math.sqrt(32),
        thinning=0.04 * 32 / side,
    )


def motion_blur(images: Array) -> Array:
    """Smear horizontally, then stretch each image to the full range 0..255.

    Equals OpenCV's filter2D and normalize, save where a smeared value lies exactly between two
    integers: there OpenCV's Fourier transform decides by its rounding noise, here the even one wins.
    """
    side = images.shape[-1]
    kernel = motion_kernel(constants(side).kernel)
    size, pixels = len(kernel), np.arange(side)
    mirrored = np.pad(pixels, size // 2, mode="reflect")
    smeared = np.zeros(images.shape)
    for row in np.flatnonzero(kernel.any(axis=1)):
        # One matrix product does a row of the kernel; of whole numbers below 2**53 it is exact.
        weights = np.zeros((side, side))
        np.add.at(weights, (mirrored[np.arange(size)[:, None] + pixels], pixels), kernel[row][:, None])
        smeared += images[:, :, mirrored[row : row + side]] @ weights
    return stretch(np.rint(smeared / (size * UNIT**2)))


def motion_kernel(size: int) -> Array:
    """Return a diagonal line turned by 45 degrees about (size / 2, size / 2): int64 [size, size].

    The unit is 1 / UNIT**2. As OpenCV's warpAffine has it: coordinates rounded to 1/1024 of a pixel,
    then to 1/32; linear interpolation; nothing outside.
    """
    steps, turn = np.arange(size), math.sqrt(0.5)
    along = np.rint(turn * steps * 1024)

    def source(start: float, slope: float) -> Array:
        down = np.rint((start + slope * steps) * 1024)
        positions: Array = (down[:, None] + along + 1024 // UNIT // 2).astype(np.int64) // (1024 // UNIT)
        return positions

    def weights(positions: Array) -> Array:
        shares: Array = np.maximum(0, UNIT - np.abs(positions[..., None] - UNIT * steps))
        return shares

    x, y = source(size / 2, -turn), source(size / 2 - turn * size, turn)
    kernel: Array = (weights(x) * weights(y)).sum(axis=-1)
    return kernel


def stretch(images: Array) -> Array:
    """Map the smallest value of each image to 0 and the largest to 255; a flat image becomes 0.

    images: float [m, channels, side, side], whole numbers in 0..255. Returns uint8. OpenCV multiplies
    and adds in one step of single precision; float64 in between gives the same.
    """
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    scale = 255 * np.divide(1, span, out=np.zeros_like(span), where=span > 0)
    factor, shift = (part.astype(np.float32).astype(np.float64) for part in (scale, -low * scale))
    stretched: Array = np.rint((images * factor + shift).astype(np.float32)).astype(np.uint8)
    return stretched


def fog(images: Array, *, fixed: bool) -> Array:
    """Fade to grey, most at the centre. As published, numbers in 0..1 become bytes: all is black."""
    side = images.shape[-1]
    here = constants(side)
    from_centre = np.arange(side) - side // 2
    distance = np.hypot(from_centre[:, None], from_centre)
    clear = np.exp(-0.4 * (here.depth - here.thinning * distance))
    foggy: Array = images / 255 * clear + 0.5 * (1 - clear)
    return (foggy * 255 if fixed else foggy).astype(np.uint8)


def low_resolution(images: Array) -> Array:
    """Shrink to a quarter of the side and enlarge again, both bicubic: Pillow's resize, bit for bit."""
    side = images.shape[-1]
    return _resize(_resize(images, constants(side).low), side)


def _resize(images: Array, side: int) -> Array:
    weights = bicubic_weights(images.shape[-1], side)
    # Products of bytes and 22-bit weights are whole numbers far below 2**53, so float64 is exact.
    return _to_bytes(weights @ _to_bytes(images @ weights.T))


def _to_bytes(sums: Array) -> Array:
    rounded: Array = np.floor(sums / FRACTION + 0.5)
    return rounded.clip(0, 255).astype(np.uint8)


def bicubic_weights(source: int, target: int) -> Array:
    """Return the weight of each source pixel in each target pixel: float64 [target, source].

    Whole numbers in units of 1 / FRACTION. Cubic convolution with a = -0.5 (R. Keys, 1981), widened
    when it shrinks, cut off at the borders.
    """
    scale = source / target
    centres = (np.arange(target)[:, None] + 0.5) * scale
    t = np.abs(np.arange(source) - centres + 0.5) / max(scale, 1.0)
    near, far = (1.5 * t - 2.5) * t * t + 1, -0.5 * (((t - 5) * t + 8) * t - 4)
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    whole: Array = np.trunc(weights * FRACTION + np.copysign(0.5, weights))
    return whole


def rectangle(images: Array) -> Array:
    """Blacken a square of half the side (41 pixels where the side is 64), towards the upper left."""
    box = constants(images.shape[-1]).box
    covered = images.copy()
    covered[..., box, box] = 0
    return covered


def noise(images: Array, rng: np.random.Generator, *, fixed: bool) -> Array:
    """Add Gaussian noise of mean 0.2 and standard deviation 1, in units of the full range.

    As published, values are cut to -1..1 and the negative ones wrap around modulo 256; fixed, they are
    cut to 0..1. The noise is drawn image by image, row by row, the channels of a pixel in turn.
    """
    m, channels, side, _ = images.shape
    drawn = rng.normal(0.2, 1.0, size=(m, side, side, channels)).transpose(0, 3, 1, 2)
    noisy: Array = np.clip(images / 255 + drawn, 0 if fixed else -1, 1)
    # By way of int32: what a cast of a negative float to a byte gives depends on the machine.
    return (noisy * 255).astype(np.int32).astype(np.uint8)
