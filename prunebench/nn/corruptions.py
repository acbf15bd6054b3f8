"""Five corruptions of images, bit for bit as in the published code, or with its two mistakes fixed.

Each corruption takes and returns uint8 [m, channels, side, side].
The published code casts fog in 0..1 to bytes, so its fog is black. It casts negative noise to bytes, so its
noise wraps around. `fixed` corrects these two and nothing else.

Source: the scripts of Moderate-DS (X. Xia et al., ICLR 2023) for CIFAR-100 and Tiny-ImageNet, of 32 and 64
pixels, as used by SemiPrune (section 4.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from prunebench.parts.artefacts import Array

UNIT = 32  # the motion kernel is interpolated in steps of 1/32 of a pixel
FRACTION = 2**22  # Pillow's integer resampling weights have the unit 1 / FRACTION
CHUNK_SIZE = 500  # images in float64 at a time, which bounds the memory and does not change the result
NAMES = ("motion_blur", "fog", "low_resolution", "rectangle", "noise")
Corruption = Callable[[Array], Array]


def corruptions(rng: np.random.Generator, *, fixed: bool) -> dict[str, Corruption]:
    """Return the five corruptions, by the names in `NAMES`.

    rng: of the noise. It draws for one image after another, so their order matters.
    fixed: whether the two mistakes of the published code are fixed.
    """
    return {
        "motion_blur": motion_blur,
        "fog": partial(fog, fixed=fixed),
        "low_resolution": low_resolution,
        "rectangle": rectangle,
        "noise": partial(noise, rng=rng, fixed=fixed),
    }


@dataclass(frozen=True)
class Constants:
    """Constants that depend on the resolution.

    kernel: side of the motion kernel, in pixels.
    low: side of the image of low resolution, in pixels.
    box: rows and columns of the black box.
    depth: depth of the fog at the center.
    thinning: decrease of that depth per pixel from the center.
    """

    kernel: int
    low: int
    box: slice
    depth: float
    thinning: float


def constants(side: int) -> Constants:
    """Return the published constants for 32 and 64 pixels, and for other sides those for 32, scaled."""
    if side == 64:  # the script for Tiny-ImageNet, which does not scale the one for CIFAR-100
        return Constants(kernel=15, low=16, box=slice(5, 46), depth=math.sqrt(64), thinning=0.04)
    return Constants(
        kernel=15 * side // 32 | 1,  # made odd, so that it has a center
        low=side // 4,
        box=slice(5 * side // 32, 21 * side // 32),
        depth=math.sqrt(32),
        thinning=0.04 * 32 / side,
    )


def motion_blur(images: Array) -> Array:
    """Smear horizontally, then stretch each image to the full range 0..255.

    Equals OpenCV's filter2D and normalize, except for values exactly between two integers. OpenCV rounds
    those by the noise of its Fourier transform. Here they are rounded to the even integer.
    """
    side = images.shape[-1]
    kernel = motion_kernel(constants(side).kernel)
    size = len(kernel)
    pixels = np.arange(side)
    mirrored = np.pad(pixels, size // 2, mode="reflect")
    smeared = np.zeros(images.shape)
    for row in np.flatnonzero(kernel.any(axis=1)):
        # One matrix product applies a row of the kernel. It is exact: all are integers below 2**53.
        weights = np.zeros((side, side))
        np.add.at(weights, (mirrored[np.arange(size)[:, None] + pixels], pixels), kernel[row][:, None])
        smeared += images[:, :, mirrored[row : row + side]] @ weights
    return stretch(np.rint(smeared / (size * UNIT**2)))


def motion_kernel(size: int) -> Array:
    """Return a diagonal line turned by 45 degrees about (size / 2, size / 2): int64 [size, size].

    The unit is 1 / UNIT**2.
    As in OpenCV's warpAffine, coordinates are rounded to 1/1024 of a pixel, then to 1/32. Interpolation is
    linear. Pixels outside are 0.
    """
    steps = np.arange(size)
    turn = math.sqrt(0.5)  # sine and cosine of 45 degrees
    along = np.rint(turn * steps * 1024)

    def source(start: float, slope: float) -> Array:
        """Return the source coordinate of each target pixel, in 1/32 of a pixel: int64 [size, size]."""
        down = np.rint((start + slope * steps) * 1024)
        positions: Array = (down[:, None] + along + 1024 // UNIT // 2).astype(np.int64) // (1024 // UNIT)
        return positions

    def weights(positions: Array) -> Array:
        """Return the weight of each pixel of the line in each target pixel: int64 [size, size, size]."""
        shares: Array = np.maximum(0, UNIT - np.abs(positions[..., None] - UNIT * steps))
        return shares

    x = source(size / 2, -turn)
    y = source(size / 2 - turn * size, turn)
    kernel: Array = (weights(x) * weights(y)).sum(axis=-1)
    return kernel


def stretch(images: Array) -> Array:
    """Map the smallest value of each image to 0 and the largest to 255. A flat image becomes 0.

    OpenCV multiplies and adds in one fused step of single precision. Float64 in between gives the same.

    images: float [m, channels, side, side], integers in 0..255. Returns uint8 of the same shape.
    """
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    scale = 255 * np.divide(1, span, out=np.zeros_like(span), where=span > 0)
    # OpenCV stores both in single precision.
    factor = scale.astype(np.float32).astype(np.float64)
    shift = (-low * scale).astype(np.float32).astype(np.float64)
    stretched: Array = np.rint((images * factor + shift).astype(np.float32)).astype(np.uint8)
    return stretched


def fog(images: Array, *, fixed: bool) -> Array:
    """Fade to gray, most at the center. As published, values in 0..1 are cast to bytes: all is black."""
    side = images.shape[-1]
    published = constants(side)
    offset = np.arange(side) - side // 2
    distance = np.hypot(offset[:, None], offset)
    clear = np.exp(-0.4 * (published.depth - published.thinning * distance))
    foggy: Array = images / 255 * clear + 0.5 * (1 - clear)
    return (foggy * 255 if fixed else foggy).astype(np.uint8)


def low_resolution(images: Array) -> Array:
    """Shrink to a quarter of the side and enlarge again. Both are Pillow's bicubic resize, bit for bit."""
    side = images.shape[-1]
    return _resize(_resize(images, constants(side).low), side)


def _resize(images: Array, side: int) -> Array:
    weights = bicubic_weights(images.shape[-1], side)
    # Float64 is exact: products of bytes and 22-bit weights are integers far below 2**53.
    return _to_bytes(weights @ _to_bytes(images @ weights.T))


def _to_bytes(sums: Array) -> Array:
    rounded: Array = np.floor(sums / FRACTION + 0.5)
    return rounded.clip(0, 255).astype(np.uint8)


def bicubic_weights(source: int, target: int) -> Array:
    """Return the weight of each source pixel in each target pixel: float64 [target, source].

    The weights are integers, in units of 1 / FRACTION.
    They are a cubic convolution with a = -0.5 (R. Keys, 1981), widened if the image shrinks and cut off at
    the borders.
    """
    scale = source / target
    centers = (np.arange(target)[:, None] + 0.5) * scale
    t = np.abs(np.arange(source) - centers + 0.5) / max(scale, 1.0)
    near = (1.5 * t - 2.5) * t * t + 1
    far = -0.5 * (((t - 5) * t + 8) * t - 4)
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    whole: Array = np.trunc(weights * FRACTION + np.copysign(0.5, weights))
    return whole


def rectangle(images: Array) -> Array:
    """Blacken a square of half the side, toward the upper left. At 64 pixels it has 41 pixels a side."""
    box = constants(images.shape[-1]).box
    covered = images.copy()
    covered[..., box, box] = 0
    return covered


def noise(images: Array, rng: np.random.Generator, *, fixed: bool) -> Array:
    """Add Gaussian noise of mean 0.2 and standard deviation 1, in units of the full range.

    As published, values are clipped to -1..1 and negative ones wrap around modulo 256. Fixed, values are
    clipped to 0..1.
    """
    m, channels, side, _ = images.shape
    # Channels come last in the draw, as in the images of the published code.
    drawn = rng.normal(0.2, 1.0, size=(m, side, side, channels)).transpose(0, 3, 1, 2)
    noisy: Array = np.clip(images / 255 + drawn, 0 if fixed else -1, 1)
    # Through int32: the cast of a negative float to a byte depends on the machine.
    return (noisy * 255).astype(np.int32).astype(np.uint8)
