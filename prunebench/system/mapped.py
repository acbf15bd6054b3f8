"""Rows of an array in a file, read by the system instead of through the memory map.

A memory map loads a few pages on a first touch, while the thread waits. `preadv` asks for a whole row at
once. `benchmarks/speed/reading.py` compares both.
"""

from __future__ import annotations

import os
import weakref
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunebench.errors import PrunebenchError


def owner(array: NDArray[Any]) -> Any:
    """Return the memory map that an array is a view of, or else the object that owns its memory."""
    found: Any = array
    while isinstance(found.base, np.ndarray):
        found = found.base
    if isinstance(found, np.memmap) or found.base is None:
        return found
    return found.base


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether an array is a memory map, or a view of one."""
    return isinstance(owner(array), np.memmap | mmap)


def is_read_only_map(array: NDArray[Any]) -> bool:
    """Whether an array is a memory map that was opened for reading only, or a view of one."""
    found = owner(array)
    return isinstance(found, np.memmap) and found.mode == "r"


def has_readable_rows(array: NDArray[Any]) -> bool:
    """Whether `MappedRows` can read an array. Windows has no `preadv`."""
    if not hasattr(os, "preadv") or not is_read_only_map(array):
        return False
    return owner(array).filename is not None and array[:1].flags.c_contiguous


class MappedRows:
    """The rows of a memory-mapped array.

    Raise OSError if its file cannot be opened.

    array: [n, ...], of which `has_readable_rows` is true.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        whole = owner(array)
        self.path = str(whole.filename)
        self.begin = whole.offset + array.ctypes.data - whole.ctypes.data
        self.stride = array.strides[0]
        self.file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)

    def read(self, index: NDArray[Any], out: NDArray[Any]) -> None:
        """Copy rows into `out`. Several threads may read at once.

        Raise PrunebenchError if the file is shorter than it was.

        index: the rows, int [m], from 0.
        out: contiguous, [m, ...].
        """
        for row, position in zip(out, index.tolist(), strict=True):
            self._fill(memoryview(row).cast("B"), self.begin + position * self.stride)

    def _fill(self, content: memoryview, offset: int) -> None:
        """Fill `content` from the bytes of the file at `offset`."""
        while content:
            count = os.preadv(self.file, [content], offset)
            if not count:
                raise PrunebenchError(f"{self.path} became shorter while it was read. Make it again.")
            content = content[count:]
            offset += count
