"""RandAugment as FixMatch uses it, on whole batches: uint8 tensors [b, c, h, w] in and out.

Each image gets three operations, drawn uniformly with replacement from fourteen, each with a random strength.
Cutout always follows. Source: Sohn et al. 2020, appendix D, with the ranges and the order of the USB code
base. Every operation gives the same pixels as Pillow for the same strength.

Images have three channels, or one. One channel counts as three equal ones, so Color changes nothing then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch

from prunebench.nn import processes

Tensor = torch.Tensor
DRAWS = 3  # operations per image
LUMA = (19595, 38470, 7471)  # ITU-R 601-2, Pillow's weights of red, green and blue in 1/65536
ONE = 1 << 16  # a pixel in the fixed-point numbers of Pillow's affine transform
CUTOUT_COLOR = (125, 123, 114)
CUTOUT_GRAY = 123  # the luma of CUTOUT_COLOR
CUTOUT_SIDE = 0.5  # largest side, as a share of the width


def randaugment(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image after three random operations and Cutout."""
    count = len(batch)
    chosen = processes.randint(len(OPERATIONS), (DRAWS, count), generator)
    uniform = processes.rand((DRAWS, count), generator, torch.float64)
    for operations, strengths in zip(chosen, uniform, strict=True):
        batch = apply(batch, operations, strengths)
    side, right, down = processes.rand((3, count), generator, torch.float64)
    return cutout(batch, CUTOUT_SIDE * side, right, down)


def apply(batch: Tensor, chosen: Tensor, uniform: Tensor) -> Tensor:
    """Return each image after one operation.

    chosen: int64 [b], index of the operation in OPERATIONS.
    uniform: float64 [b] in 0..1, mapped to the strengths of the operation.
    """
    if batch.device.type != "cpu":
        return apply_without_waiting(batch, chosen, uniform)
    # Sort the images by operation, so that each operation runs once, on all of its images.
    order = chosen.argsort()
    sizes = chosen.bincount(minlength=len(OPERATIONS)).tolist()
    groups = torch.split(batch[order], sizes)
    uniforms = torch.split(uniform[order], sizes)
    outputs = []
    for (operation, low, high), images, u in zip(OPERATIONS.values(), groups, uniforms, strict=True):
        outputs.append(operation(images, low + (high - low) * u))
    return torch.empty_like(batch).index_copy_(0, order, torch.cat(outputs))


def apply_without_waiting(batch: Tensor, chosen: Tensor, uniform: Tensor) -> Tensor:
    """Return the pixels of `apply`, without reading a value on the host.

    Sorting images by operation needs the number of images of each operation, and the host waits for it. Here
    all images pass four steps: one gather that moves pixels, one lookup in a table of 256 values, Color and
    Sharpness. An image is changed by one of them and left alone by the others.
    """
    numbers = {name: number for number, name in enumerate(OPERATIONS)}
    lowest = constant(tuple(low for _, low, _ in OPERATIONS.values()), torch.float64, batch.device)
    spans = tuple(high - low for _, low, high in OPERATIONS.values())
    strength = lowest[chosen] + constant(spans, torch.float64, batch.device)[chosen] * uniform

    def by(name: str) -> tuple[Tensor, Tensor]:
        """Return the mask of the images of an operation, bool [b], and its strengths, the lowest outside."""
        mine = chosen == numbers[name]
        return mine, torch.where(mine, strength, OPERATIONS[name][1])

    batch = affine(batch, _moves(batch, by))
    batch = _tables(batch, by).gather(2, batch.flatten(2).long()).view_as(batch)
    for operation, name in ((color, "Color"), (sharpness, "Sharpness")):
        mine, strengths = by(name)
        batch = torch.where(column(mine), operation(batch, strengths), batch)
    return batch


def _moves(batch: Tensor, by: Callable[[str], tuple[Tensor, Tensor]]) -> Tensor:
    """Return the matrix of each image: float64 [b, 2, 3]. The identity, unless its operation moves pixels."""
    height, width = batch.shape[2:]
    matrix = altered(0, 0, torch.ones(len(batch), dtype=torch.float64, device=batch.device))
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "Rotate": lambda strength: turned(strength, height, width),
        "ShearX": lambda strength: altered(0, 1, strength),
        "ShearY": lambda strength: altered(1, 0, strength),
        "TranslateX": lambda strength: altered(0, 2, rounded(strength * width)),
        "TranslateY": lambda strength: altered(1, 2, rounded(strength * height)),
    }
    for name, make in makers.items():
        mine, strength = by(name)
        matrix = torch.where(mine.view(-1, 1, 1), make(strength), matrix)
    return matrix


def _tables(batch: Tensor, by: Callable[[str], tuple[Tensor, Tensor]]) -> Tensor:
    """Return the table of each channel: uint8 [b, c, 256]. Without an operation it is the identity."""
    values = torch.arange(256, dtype=torch.uint8, device=batch.device).view(1, 1, 256, 1)
    values = values.expand(*batch.shape[:2], 256, 1)
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "AutoContrast": lambda strength: stretched(values, batch),
        "Brightness": lambda strength: brightness(values, strength),
        "Contrast": lambda strength: blend(column(mean_gray(batch)), values, strength),
        "Equalize": lambda strength: equalizing(batch)[..., None],
        "Posterize": lambda strength: posterize(values, strength),
        "Solarize": lambda strength: solarize(values, strength),
    }
    table = values
    for name, make in makers.items():
        mine, strength = by(name)
        table = torch.where(column(mine), make(strength), table)
    return table.squeeze(3)


def cutout(batch: Tensor, side: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Paint a gray square into each image.

    The released code draws the center from (1, w], never from the first column. It truncates the near corner,
    and Pillow paints the far corner too. Both are kept, because they decide how much of an image is covered.

    side: float64 [b], side of the square as a share of the width, above 0.
    right, down: float64 [b] in 0..1, position of the center, from the far edge (0) to the second pixel (1).
    """
    _, channels, height, width = batch.shape
    length = side * width

    def covered(size: int, uniform: Tensor) -> Tensor:
        center = size + (1 - size) * uniform
        first = (center - length / 2).clamp(min=0).floor()
        last = (first + length).clamp(max=size).floor()
        pixel = torch.arange(size, device=batch.device)
        return (pixel >= first[:, None]) & (pixel <= last[:, None])

    rows = covered(height, down)[:, :, None]
    columns = covered(width, right)[:, None, :]
    square = (rows & columns)[:, None]
    channel_values = CUTOUT_COLOR if channels == 3 else (CUTOUT_GRAY,)
    color = constant(channel_values, torch.uint8, batch.device).view(-1, 1, 1)
    return torch.where(square, color, batch)


def identity(images: Tensor, strength: Tensor) -> Tensor:
    """Change nothing."""
    return images


def auto_contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel to 0..255."""
    return stretched(images, images)


def stretched(values: Tensor, images: Tensor) -> Tensor:
    """Return what uint8 values [k, c, h, w] become when the channels of images are stretched to 0..255."""
    low = images.amin((2, 3), keepdim=True).double()
    span = images.amax((2, 3), keepdim=True) - low
    # Not 255 / span, which torch computes as the rounded 1 / span times 255.
    scale = torch.full_like(span, 255) / span.clamp(min=1)
    return torch.where(span > 0, values * scale + -low * scale, values).clamp(0, 255).to(torch.uint8)


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Equalize the histogram of each channel."""
    table = equalizing(images)
    return table.gather(2, images.flatten(2).long()).view_as(images)


def equalizing(images: Tensor) -> Tensor:
    """Return the table that equalizes the histogram of each channel: uint8 [k, c, 256]."""
    pixels = images.flatten(2).long()
    counts = pixels.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, pixels, torch.ones_like(pixels))
    brightest = counts.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - brightest) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table, torch.arange(256, device=table.device)).to(torch.uint8)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the `strength` highest bits, rounded down."""
    return images & column(255 << (8 - strength.long())).to(torch.uint8)


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the pixels of `strength` or more."""
    return torch.where(images < column(strength.ceil().short()), images, 255 - images)


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with black."""
    return blend(torch.zeros_like(images), images, strength)


def color(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the same image in gray."""
    return blend(luma(images), images, strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the mean gray of the image."""
    return blend(column(mean_gray(images)), images, strength)


def mean_gray(images: Tensor) -> Tensor:
    """Return the mean gray value of each image, rounded half up: float32 [k]."""
    gray = luma(images).flatten(1)
    return (gray.sum(1) / gray.shape[1] + 0.5).floor()


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with a smoothed image. The pixels at the border are not smoothed."""
    wide = images.int()
    inner = wide[:, :, 1:-1, 1:-1]
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner
    smooth = wide.clone()
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26  # total / 13, rounded half up
    return blend(smooth, images, strength)


def shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """Read row y from `strength` * y pixels further right."""
    return affine(images, altered(0, 1, strength))


def shear_y(images: Tensor, strength: Tensor) -> Tensor:
    """Read column x from `strength` * x pixels further down."""
    return affine(images, altered(1, 0, strength))


def translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """Read from `strength` widths further right, a whole number of pixels."""
    return affine(images, altered(0, 2, rounded(strength * images.shape[3])))


def translate_y(images: Tensor, strength: Tensor) -> Tensor:
    """Read from `strength` heights further down, a whole number of pixels."""
    return affine(images, altered(1, 2, rounded(strength * images.shape[2])))


def rotate(images: Tensor, strength: Tensor) -> Tensor:
    """Turn `strength` degrees counterclockwise about the center."""
    return affine(images, turned(strength, *images.shape[2:]))


def turned(degrees: Tensor, height: int, width: int) -> Tensor:
    """Return the matrix that turns an image about its center, per image: float64 [k, 2, 3]."""
    angle = degrees * -(math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    y, x = height / 2, width / 2
    entries = (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)
    return torch.stack(entries, 1).view(-1, 2, 3)


def affine(images: Tensor, matrix: Tensor) -> Tensor:
    """Take for (x, y) the pixel at (a x + b y + c, d x + e y + f), or black outside the image.

    Coordinates count in pixels. The center of the first pixel is (0.5, 0.5).

    matrix: float64 [k, 2, 3], with the rows (a, b, c) and (d, e, f). Rounded to 1/65536, as in Pillow.
    """
    _, channels, height, width = images.shape
    start = matrix[:, :, 2] + matrix[:, :, 0] * 0.5 + matrix[:, :, 1] * 0.5
    scaled = rounded(torch.cat((matrix[:, :, :2], start[:, :, None]), 2) * ONE)
    # Whole numbers far below 2**53, so that the product is exact.
    positions = (scaled @ grid(height, width, images.device)).div_(ONE).floor_().long()
    x, y = positions.unbind(1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    source = (y * width + x).where(inside, 0)[:, None].expand(-1, channels, -1)
    return (images.flatten(2).gather(2, source) * inside[:, None]).view_as(images)


@lru_cache(maxsize=8)
def grid(height: int, width: int, device: torch.device) -> Tensor:
    """Return x, y and 1 of every pixel: float64 [3, height * width]."""
    pixel = torch.arange(height * width, device=device)
    return torch.stack((pixel % width, pixel // width, torch.ones_like(pixel))).double()


def altered(row: int, column: int, value: Tensor) -> Tensor:
    """Return identity matrices with one entry replaced: float64 [k, 2, 3].

    row, column: position of the entry.
    value: float64 [k], the entry of each matrix.
    """
    matrix = torch.eye(2, 3, dtype=torch.float64, device=value.device).repeat(len(value), 1, 1)
    matrix[:, row, column] = value
    return matrix


def column(strength: Tensor) -> Tensor:
    """Return one value per image, [k], as [k, 1, 1, 1]."""
    return strength.view(-1, 1, 1, 1)


def rounded(value: Tensor) -> Tensor:
    """Round halves up."""
    return (value + 0.5).floor()


def luma(images: Tensor) -> Tensor:
    """Return the gray value of each pixel, rounded as in Pillow: [k, 1, h, w] in 0..255."""
    if images.shape[1] == 1:
        return images
    weights = constant(LUMA, torch.int32, images.device).view(-1, 1, 1)
    return (images * weights).sum(1, keepdim=True) + ONE // 2 >> 16


@lru_cache(maxsize=32)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers on a device, copied there once: a copy in each step would wait."""
    return torch.tensor(values, dtype=dtype, device=device)


def blend(start: Tensor, images: Tensor, share: Tensor) -> Tensor:
    """Return start + share * (images - start), in float32 and rounded down, as in Pillow: uint8.

    share: [k] in 0..1.
    """
    start = start.float()
    return (start + column(share).float() * (images - start)).to(torch.uint8)


# The operations in the order of the released code, each with its least and largest strength.
OPERATIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = {
    "AutoContrast": (auto_contrast, 0, 1),
    "Brightness": (brightness, 0.05, 0.95),
    "Color": (color, 0.05, 0.95),
    "Contrast": (contrast, 0.05, 0.95),
    "Equalize": (equalize, 0, 1),
    "Identity": (identity, 0, 1),
    "Posterize": (posterize, 4, 8),
    "Rotate": (rotate, -30, 30),
    "Sharpness": (sharpness, 0.05, 0.95),
    "ShearX": (shear_x, -0.3, 0.3),
    "ShearY": (shear_y, -0.3, 0.3),
    "Solarize": (solarize, 0, 256),
    "TranslateX": (translate_x, -0.3, 0.3),
    "TranslateY": (translate_y, -0.3, 0.3),
}
