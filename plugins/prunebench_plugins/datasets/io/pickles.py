"""Reads pickles of plain values and arrays of bytes, and runs nothing that a pickle names.

A pickle is a program: whoever loads one from a stranger runs what the stranger wrote.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from prunebench.parts.artefacts import Array


def unpickle(content: bytes) -> dict[str, Any]:
    """Return the dictionary in a pickle of protocol 0 to 4, its keys as text, its arrays as PickledArray.

    Bytes of Python 2, which are its text, become text, as Latin-1. Raise ValueError, with a reason of one
    line, where it is damaged, is no dictionary or names anything but an array of bytes.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    if not isinstance(found, dict):
        raise ValueError(f"it holds no dictionary but {type(found).__name__}")
    return {text(key): value for key, value in found.items()}


def text(value: object) -> str:
    """Return text, of which bytes are the Latin-1."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


class PickledArray:
    """What a pickle says of an array of bytes. NumPy's own code, made for arrays of anything, is not run."""

    def __init__(self, *_: object) -> None:
        self.shape: tuple[int, ...] = ()
        self.by_column, self.content = False, b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take in what ndarray.__reduce__ tells: version, shape, type, whether column by column, bytes."""
        _version, shape, dtype, by_column, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        if not (isinstance(dtype, _Dtype) and dtype.code == "u1" and isinstance(content, bytes)):
            raise pickle.UnpicklingError("it holds an array of something else than bytes")
        if math.prod(shape) != len(content):
            raise pickle.UnpicklingError(f"it holds {len(content)} bytes for an array of shape {shape}")
        self.shape, self.by_column, self.content = tuple(shape), bool(by_column), content

    def array(self) -> Array:
        """Return the array: uint8, read-only."""
        flat = np.frombuffer(self.content, dtype=np.uint8)
        return flat.reshape(self.shape, order="F" if self.by_column else "C")


class _Dtype:
    def __init__(self, code: object = "", *_: object) -> None:
        self.code = text(code)

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment, of no meaning for bytes."""


STAND_INS = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": PickledArray,
    "numpy._core.multiarray._reconstruct": PickledArray,
    "_codecs.encode": str.encode,  # early protocols of Python 3 spell bytes as encoded text
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for the thing named; raise UnpicklingError for all but arrays."""
        if (full := f"{module}.{name}") not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {full}, which is not run")
        return STAND_INS[full]
