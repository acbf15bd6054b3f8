"""Decodes small images of one published size into memory. None is resized."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.system.cores import in_order
from prunebench_plugins.datasets.io.decoders import decoders
from prunebench_plugins.datasets.io.decoding_bar import bar

CHUNK_SIZE = 250  # images that a thread decodes in one go
SHOWN = 5  # bad images named in a message


def decoded_as_published(
    read: Callable[[str], bytes], names: Sequence[str], side: int, source: str, kind: str = "JPEG"
) -> Array:
    """Return the named images: uint8 [n, 3, side, side]. Gray images become RGB.

    read: returns the content of a named file.
    names: the n files.
    side: published width and height in pixels.
    source: name of the folder or archive in the message.
    kind: format of all images, "JPEG" or "PNG". What a file holds decides, not its name.

    Raise PrunebenchError if images cannot be read or have another format or size. The message lists them.
    """
    images = np.empty((len(names), 3, side, side), dtype=np.uint8)

    def decode(start: int) -> list[str]:
        """Decode one chunk into `images`, and return a line for each bad image."""
        lines = []
        with decoders():
            for i, name in enumerate(names[start : start + CHUNK_SIZE], start):
                reason = _read_into(images[i], read, name, kind)
                if reason:
                    lines.append(f"{name} ({reason})")
        return lines

    bad = []
    starts = range(0, len(names), CHUNK_SIZE)
    with bar(f"decoding {source}", len(names)) as update:
        for start, lines in zip(starts, in_order(decode, starts), strict=True):
            bad += lines
            update(min(start + CHUNK_SIZE, len(names)))
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise PrunebenchError(
            f"{len(bad)} of the {len(names)} images in {source} are not {kind} images of {side} x {side} "
            f"pixels: {', '.join(bad[:SHOWN])}{more}. Get them again."
        )
    return images


def _read_into(image: Array, read: Callable[[str], bytes], name: str, kind: str) -> str:
    """Fill `image`, uint8 [3, side, side], with a file. Returns "", or the reason of a failure."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read(name)), formats=(kind,)) as opened:
            if opened.size != image.shape[1:]:
                return "{} x {} pixels".format(*opened.size)
            image[:] = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError, Image.DecompressionBombError):
        return "not readable"
    except (zipfile.BadZipFile, zlib.error):
        return "not readable"
    return ""
