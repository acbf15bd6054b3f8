"""Reads pickles of plain values and byte arrays without running any code that they name.

A pickle is a program: to load one from a stranger is to run the stranger's code.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from prunebench.parts.artefacts import Array


def unpickle(content: bytes) -> dict[str, Any]:
    """Return the dictionary in a pickle of protocol 0 to 4.

    Keys become text, arrays become PickledArray. Strings of Python 2 are decoded as Latin-1.
    Raise ValueError, with a reason of one line, if the pickle is damaged or holds no dictionary.
    Raise ValueError if it names anything but byte arrays.
    """
    try:
        value = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a dictionary, got {type(value).__name__}")
    return {text(key): entry for key, entry in value.items()}


def text(value: object) -> str:
    """Return a value as text. Bytes are decoded as Latin-1."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


class PickledArray:
    """The state of a pickled byte array. Stands in for NumPy's code, which could build arrays of anything."""

    def __init__(self, *_: object) -> None:
        self.shape: tuple[int, ...] = ()
        self.by_column = False
        self.content = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the state of ndarray.__reduce__: version, shape, dtype, whether column by column, bytes."""
        _version, shape, dtype, by_column, content = state
        if isinstance(content, str):  # a string of Python 2
            content = content.encode("latin1")
        if not (isinstance(dtype, _Dtype) and dtype.code == "u1" and isinstance(content, bytes)):
            raise pickle.UnpicklingError("it holds an array that is not of bytes")
        if math.prod(shape) != len(content):
            raise pickle.UnpicklingError(f"it holds {len(content)} bytes for an array of shape {shape}")
        self.shape = tuple(shape)
        self.by_column = bool(by_column)
        self.content = content

    def array(self) -> Array:
        """Return the array: uint8, read-only."""
        flat = np.frombuffer(self.content, dtype=np.uint8)
        return flat.reshape(self.shape, order="F" if self.by_column else "C")


class _Dtype:
    def __init__(self, code: object = "", *_: object) -> None:
        self.code = text(code)

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment, which have no meaning for bytes."""


STAND_INS = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": PickledArray,
    "numpy._core.multiarray._reconstruct": PickledArray,
    "_codecs.encode": str.encode,  # early protocols of Python 3 spell bytes as encoded text
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name. Raise UnpicklingError for all names but those of arrays."""
        full_name = f"{module}.{name}"
        if full_name not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {full_name}, which is not run")
        return STAND_INS[full_name]
