"""Reads the IDX format of MNIST and its successors, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array

GZIP = b"\x1f\x8b"
UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> Array:
    """Return the array in a file: uint8, read-only, with the given number of dimensions.

    The format is four bytes 0, 0, type, dimensions. Then comes the length of each dimension as a
    big-endian 32-bit integer. Then come the values, last index fastest.
    Raise PrunebenchError if the file has another format or is truncated.
    """
    content = path.read_bytes()
    try:
        # The first bytes decide, not the file name: a saved error page may be called .gz.
        content = gzip.decompress(content) if content.startswith(GZIP) else content
    except (EOFError, OSError, zlib.error) as error:
        raise _damaged(path, str(error)) from None
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, UNSIGNED_BYTE, dimensions]) or len(content) < start:
        raise _damaged(path, f"it begins with {content[:16]!r}")
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise _damaged(path, f"it has {len(content)} bytes, but its header {shape} asks for {expected}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _damaged(path: Path, reason: str) -> PrunebenchError:
    return PrunebenchError(f"{path} is not a whole IDX file: {reason}. Delete it and get it again.")
