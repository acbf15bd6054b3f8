"""Small JPEG images that all have the published size: decoded into memory, none resized."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.io.decoders import decoders

TOGETHER = 250  # images that a thread decodes in one go
SHOWN = 5  # of the images that are not what they should be


def decoded_as_published(read: Callable[[str], bytes], names: Sequence[str], side: int, where: str) -> Array:
    """Return the named JPEG images: uint8 [n, 3, side, side]; grey ones become RGB.

    Raise PrunebenchError that lists those that cannot be read or have another size.
    """
    images = np.empty((len(names), 3, side, side), dtype=np.uint8)

    def decode(start: int) -> list[str]:
        bad = []
        with decoders():
            for i, name in enumerate(names[start : start + TOGETHER], start):
                if reason := _read_into(images[i], read, name):
                    bad.append(f"{name} ({reason})")
        return bad

    # Threads gain as much as the decoder works outside the interpreter's lock; a handful is enough.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        bad = [line for lines in threads.map(decode, range(0, len(names), TOGETHER)) for line in lines]
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise PrunebenchError(
            f"{len(bad)} of the {len(names)} images in {where} are not JPEG images of {side} x {side} "
            f"pixels: {', '.join(bad[:SHOWN])}{more}. Get them again."
        )
    return images


def _read_into(image: Array, read: Callable[[str], bytes], name: str) -> str:
    """Fill uint8 [3, side, side] with a picture; return "", or why that could not be done."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read(name)), formats=("JPEG",)) as opened:
            if opened.size != image.shape[1:]:
                return "{} x {} pixels".format(*opened.size)
            image[:] = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError, Image.DecompressionBombError):
        return "not readable"
    except (zipfile.BadZipFile, zlib.error):
        return "not readable"
    return ""
