"""A montage of training images: which ones the subsets of methods keep. Its values become JSON."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np

from prunebench.figures.report.lineage import Picked, Subsets
from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.parts.images import Images

MOST, WIDE = 200, 20  # images on a sheet, and in a row of it
STRIP = 20  # images in a strip
LARGEST = 64  # side of an image, in pixels
PHOTO = 32  # side above which JPEG is smaller than PNG


@dataclass
class Sheet:
    """Images side by side in one picture.

    picture: a data URL.
    side: of an image, in pixels.
    wide, high: number of images.
    """

    picture: str
    side: int
    wide: int
    high: int


@dataclass
class Strip:
    """Images that a subset keeps, and that it prunes, as positions on the sheet.

    ordered: whether the easiest come first. Without scores they have no order.
    """

    kept: list[int]
    pruned: list[int]
    ordered: bool


@dataclass
class Montage:
    """Strips of the same images for all methods. strips: for each ratio, then method."""

    sheet: Sheet
    strips: list[list[Strip | None]]


def montage(images: Images, subsets: Subsets) -> Montage:
    """Return a montage of up to 200 training images, drawn at random.

    subsets: for each ratio, then method.
    """
    index = seeds.stream("montage", 0).permutation(len(images))[:MOST]
    strips = [[_strip(one, index) for one in of_ratio] for of_ratio in subsets]
    return Montage(_sheet(images.take(index)), strips)


def _sheet(images: Images) -> Sheet:
    """Return a sheet of images, in their order. Images of other than three channels show their first."""
    from PIL import Image

    side = min(images.resolution, LARGEST)
    channels = images.channels if images.channels == 3 else 1
    high = math.ceil(len(images) / WIDE)
    tiles = np.zeros((high * WIDE, channels, side, side), np.uint8)
    tiles[: len(images)] = images.resized(side).array[np.arange(len(images))][:, :channels]
    pixels = tiles.reshape(high, WIDE, channels, side, side).transpose(0, 3, 1, 4, 2)
    picture = Image.fromarray(pixels.reshape(high * side, WIDE * side, channels).squeeze())
    file, kind = io.BytesIO(), "jpeg" if side > PHOTO else "png"
    picture.save(file, kind)
    content = base64.b64encode(file.getvalue()).decode()
    return Sheet(f"data:image/{kind};base64,{content}", side, WIDE, high)


def _strip(one: Picked | None, index: Array) -> Strip | None:
    """Return the first images of a sheet that a subset keeps and prunes. index: of the sheet, int [m]."""
    if one is None:
        return None
    is_kept = np.isin(index, one.index)
    parts = [np.flatnonzero(is_kept)[:STRIP], np.flatnonzero(~is_kept)[:STRIP]]
    if one.scores is not None:
        parts = [part[np.argsort(one.scores[index[part]], kind="stable")] for part in parts]
    kept, pruned = (part.tolist() for part in parts)
    return Strip(kept, pruned, one.scores is not None)
