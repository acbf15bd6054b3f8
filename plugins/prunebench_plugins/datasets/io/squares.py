"""One file with a photo into one square of RGB pixels, whatever the file is like."""

from __future__ import annotations

import io
import struct
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.io.decoders import ROOM

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {
    **{".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".pgm": "PPM", ".png": "PNG"},
    **{".ppm": "PPM", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"},
}
ORIENTATION = 0x0112  # the tag in which a camera says how it was held
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # grey in more than 8 bits
USUAL = ("1", "L", "P", "RGB")
DRAFT = 2  # sides that a JPEG file is at least decoded at: less, and shrinking the rest would alias


class BadPhotoError(Exception):
    """A file is no photo that can be read whole; the message says why."""


def fill(square: Array, content: bytes, name: str) -> str:
    """Fill uint8 [3, side, side] with the photo in a file; return what is odd about the file, or "".

    The photo is turned as its camera says, its shorter side becomes `side` pixels, bilinear, and the middle
    is kept. Grey in 16 bits is scaled to 8, CMYK becomes RGB, and what is transparent lies on white. Of
    several frames the first counts. Raise BadPhotoError where this cannot be done. Call it within
    `decoders.decoders`.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise BadPhotoError("empty")
    try:
        with Image.open(io.BytesIO(content), formats=tuple(sorted({*FORMATS.values()}))) as opened:
            odd = _fill(square, opened)
    except (MemoryError, BadPhotoError):
        raise
    except UnidentifiedImageError:
        raise BadPhotoError(f"no image, it begins with {content[:12]!r}") from None
    except Exception as error:  # bytes from anywhere make decoders raise anything
        raise BadPhotoError(" ".join(str(error).split()) or type(error).__name__) from None
    said = FORMATS.get(PurePosixPath(name).suffix.lower())
    kind = {"MPO": "JPEG"}.get(opened.format or "", opened.format)  # a JPEG file with more JPEG files in it
    return ", ".join([*odd, f"{kind} in spite of its name"] if said not in (None, kind) else odd)


def _fill(square: Array, opened: Image) -> list[str]:
    """Fill a square with an opened image; return what is odd about it."""
    side = square.shape[-1]
    drafted = opened.draft(None, (DRAFT * side, DRAFT * side))  # a JPEG file alone: fewer coefficients
    with ROOM.taken(opened.width * opened.height):
        opened.load()
        orientation = _orientation(opened)
        image, odd = _rgb(opened)
        # The last pixels of a draft may lie half outside.
        _, _, width, height = drafted[1] if drafted else (0, 0, *image.size)
        square[:] = np.asarray(_middle(image, width, height, side, orientation)).transpose(2, 0, 1)
    return odd


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
    # The middle square is the same whichever way the photo lies, and quicker to turn.
    return image if orientation not in turns else image.transpose(turns[orientation])


def _orientation(image: Image) -> int:
    """Return the orientation of a loaded image, 1 where it has none that can be read.

    Asked after loading: Pillow turns TIFF files by itself, and drops the tag.
    """
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1  # the tags are broken, not the photo


def _rgb(image: Image) -> tuple[Image, list[str]]:
    """Return the image as RGB, and what was odd about it."""
    from PIL.Image import alpha_composite, fromarray, new

    if image.mode in DEEP:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadPhotoError("grey values outside 16 bits")
        grey = (values.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF
        return fromarray(grey.astype(np.uint8)).convert("RGB"), ["16-bit grey"]
    if image.mode == "F":
        raise BadPhotoError("values without a range (floating point)")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema()[0] == 0xFF:
            return layer.convert("RGB"), []
        under = new("RGBA", layer.size, "white")
        palette = " palette" if image.mode in ("P", "PA") else ""
        return alpha_composite(under, layer).convert("RGB"), [f"transparent{palette}, laid on white"]
    return image.convert("RGB"), [] if image.mode in USUAL else [f"colours in {image.mode}"]
