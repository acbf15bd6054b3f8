"""Decodes a photo of any format into a square of RGB pixels."""

from __future__ import annotations

import io
import struct
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.photos.formats import formats
from prunebench_plugins.datasets.io.decoders import ROOM

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112  # the Exif tag for the position of the camera
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # modes of gray in more than 8 bits
USUAL = ("1", "L", "P")  # modes that need no remark
DRAFT = 2  # a JPEG file is decoded to at least so many times `side`, to shrink the rest without aliasing


class BadPhotoError(Exception):
    """A file is no photo or is broken. The message says why."""


def fill(square: Array, content: bytes, name: str) -> str:
    """Fill `square` with the photo in a file, and return a remark on an unusual file, or "".

    The photo is turned upright by its Exif tag. Its shorter side is scaled to `side` pixels, bilinear, and
    the middle square is kept.
    16-bit gray is scaled to 8 bits. CMYK becomes RGB. Transparent pixels are laid on white. The first of
    several frames is used.
    Call it inside `decoders.decoders`.

    square: uint8 [3, side, side].
    content: the bytes of the file.
    name: name of the file, for the remark on a wrong ending.

    Raise BadPhotoError if the file is no photo or is broken.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise BadPhotoError("empty")
    try:
        with Image.open(io.BytesIO(content), formats=tuple(sorted({*formats().values()}))) as opened:
            remarks = _fill(square, opened)
    except (MemoryError, BadPhotoError):
        raise
    except UnidentifiedImageError:
        raise BadPhotoError(f"no image, it begins with {content[:12]!r}") from None
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise BadPhotoError(" ".join(str(error).split()) or type(error).__name__) from None
    actual = opened.format
    if actual == "MPO":  # a JPEG file with more JPEG files in it
        actual = "JPEG"
    expected = formats().get(PurePosixPath(name).suffix.lower())
    if expected is not None and expected != actual:
        remarks.append(f"{actual} in spite of its name")
    return ", ".join(remarks)


def _fill(square: Array, opened: Image) -> list[str]:
    """Fill `square` with an opened image, and return remarks on it."""
    side = square.shape[-1]
    # Only JPEG files can be drafted: they are decoded at a fraction of their size.
    drafted = opened.draft(None, (DRAFT * side, DRAFT * side))
    with ROOM.taken(opened.width * opened.height):
        opened.load()
        orientation = _orientation(opened)
        image, remarks = _rgb(opened)
        width: float
        height: float
        width, height = image.size
        if drafted:  # a draft is rounded up to whole pixels: the photo may end inside the last ones
            _, _, width, height = drafted[1]
        square[:] = np.asarray(_middle(image, width, height, side, orientation)).transpose(2, 0, 1)
    return remarks


def _middle(image: Image, width: float, height: float, side: int, orientation: int) -> Image:
    """Return the middle square of `width` x `height` pixels, shrunk to `side` and turned upright."""
    from PIL.Image import Resampling, Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    image = image.resize((side, side), Resampling.BILINEAR, box=(left, top, left + edge, top + edge))
    # Turned last: the middle square is the same in each orientation, and small.
    if orientation in turns:
        return image.transpose(turns[orientation])
    return image


def _orientation(image: Image) -> int:
    """Return the Exif orientation of a loaded image, 1..8, or 1 if it has none or the tags are broken.

    The image must be loaded before: Pillow then turns TIFF files itself and drops the tag.
    """
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1  # only the tags are broken, not the photo


def _rgb(image: Image) -> tuple[Image, list[str]]:
    """Return the image as RGB, and remarks on it. An RGB image without transparency is returned itself."""
    from PIL.Image import alpha_composite, fromarray, new

    if image.mode in DEEP:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadPhotoError("gray values outside 16 bits")
        gray = (values.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF  # rounded to the nearest
        return fromarray(gray.astype(np.uint8)).convert("RGB"), ["16-bit gray"]
    if image.mode == "F":
        raise BadPhotoError("values without a range (floating point)")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema()[0] == 0xFF:  # no pixel is transparent
            return layer.convert("RGB"), []
        white = new("RGBA", layer.size, "white")
        palette = " palette" if image.mode in ("P", "PA") else ""
        return alpha_composite(white, layer).convert("RGB"), [f"transparent{palette}, laid on white"]
    if image.mode == "RGB":  # Pillow would copy it, and a photo may take hundreds of MiB
        return image, []
    remarks = [] if image.mode in USUAL else [f"colors in {image.mode}"]
    return image.convert("RGB"), remarks
