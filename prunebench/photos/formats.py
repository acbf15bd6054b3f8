"""The formats of photos that are read, by the ending of their files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec

# Pillow's names.
ALWAYS = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jfif": "JPEG",
    ".jp2": "JPEG2000",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
OF_PHONES = {".heic": "HEIF", ".heif": "HEIF"}
# Endings of possible photos that no decoder here reads: counted, so that their owner learns of them.
UNREAD = frozenset({"", ".jxl", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"})
REMEDY = "`pip install pillow-heif` reads HEIC"


@cache
def reads_heic() -> bool:
    """Whether the package pillow-heif is there."""
    return find_spec("pillow_heif") is not None


@cache
def formats() -> Mapping[str, str]:
    """Return the name of each format that is read, by ending."""
    return ALWAYS | OF_PHONES if reads_heic() else ALWAYS


@cache
def unread() -> frozenset[str]:
    """Return the endings of possible photos that are not read."""
    return UNREAD if reads_heic() else UNREAD | {*OF_PHONES}
