"""Photos as squares of pixels: decoded once, in parallel, and kept; or, for want of room, each time anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import some
from prunebench_plugins.datasets.io.blocks import Found, blocks
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.pixel_cache import Work

SMALL = 64 * 2**20  # bytes of files, and of pixels, below which photos are decoded into memory
SHOWN = 5  # of the bad files
RECENT = 2  # small sets of photos that a process remembers: two splits
_RECENT: dict[str, tuple[Array | None, Found]] = {}


@dataclass(frozen=True, eq=False)
class Decoded:
    """Photos as squares.

    images: uint8 [m, 3, side, side], read-only, mapped into memory unless it is small; or, where no cache
    was wanted, an `Undecoded`. kept: int64 [m], which of the given names they are. odd: a line for each file
    that could be read but is not what one expects, such as CMYK or a wrong ending.
    """

    images: Array
    kept: Array
    odd: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Undecoded:
    """Photos that are decoded whenever they are asked for: looks like an array, and is indexed as one."""

    tree: Tree
    names: tuple[str, ...]
    side: int
    dtype: ClassVar[np.dtype[np.uint8]] = np.dtype(np.uint8)
    ndim: ClassVar[int] = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[n, 3, side, side]."""
        return len(self.names), 3, self.side, self.side

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: slice | Array) -> Array:
        """Return uint8 [b, 3, side, side] of a slice or int array; raise PrunebenchError for a bad file."""
        chosen = self.names[index] if isinstance(index, slice) else tuple(map(self.names.__getitem__, index))
        images: Array = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        start = 0
        for block in blocks(self.tree, chosen, self.side):
            for place, reason in block.bad.items():
                path = self.tree.place / chosen[start + place]
                raise PrunebenchError(f"{path} could be read before, and now cannot: {reason}")
            images[start : start + block.names] = block.pixels
            start += block.names
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)


def decoded(
    tree: Tree,
    names: Sequence[str],
    *,
    root: Path,
    side: int,
    on_bad: str = "fail",
    cache: bool = True,
    empty: bool = False,
) -> Decoded:
    """Return the named photos of a tree as squares of `side` pixels; `squares.fill` says how they are made.

    They are decoded once and kept in root/decoded, for as long as names, sizes and times of the files stay
    the same. What takes less than 64 MiB, files and pixels alike, is decoded into memory instead. A call that
    was killed is gone on with. cache: False keeps no pixels, and decodes them whenever they are asked for;
    the files are looked through once. Photos are never written to.

    on_bad: "skip" leaves out files that are no photos or are broken; with "fail" they raise PrunebenchError,
    which counts them. So do a disk that is too full and, unless the result may be `empty`, photos none of
    which can be read.
    """
    require(on_bad in ("fail", "skip"), "on_bad", on_bad, "'fail' or 'skip'")
    work = Work(tree, tuple(names), side, cache, root / "decoded")
    key, size = work.stamp()
    small = max(size, len(work.names) * work.row) < SMALL
    pixels, found = _in_memory(key, work) if small else work.on_disk(key)
    if found.bad and (on_bad == "fail" or (len(found.bad) == len(work.names) and not empty)):
        shown = [f"{some([work.names[place]])} ({reason})" for place, reason in found.bad.items()]
        rest = len(shown) - SHOWN
        more = f" and {rest} more{work.listed(key, found)}" if rest > 0 else ""
        advice = "mend or remove them" + (
            ", or leave them out with --on-bad skip" if on_bad == "fail" else ": nothing is left"
        )
        raise PrunebenchError(
            f"{len(shown)} of the {len(work.names)} images in {tree.place} cannot be read: "
            f"{', '.join(shown[:SHOWN])}{more}; {advice}"
        )
    kept = np.delete(np.arange(len(work.names)), list(found.bad))
    if pixels is None:
        pixels = cast(Array, Undecoded(tree, tuple(work.names[place] for place in kept), side))
    else:
        pixels.setflags(write=False)
    return Decoded(pixels, kept, tuple(f"{work.names[place]}: {what}" for place, what in found.odd.items()))


def _in_memory(key: str, work: Work) -> tuple[Array | None, Found]:
    """Decode into memory; both splits are remembered, since names and pixels are asked for apart."""
    if key not in _RECENT:
        while len(_RECENT) >= RECENT:
            del _RECENT[next(iter(_RECENT))]
        _RECENT[key] = work.in_memory()
    return _RECENT[key]


def check_apart(root: Path, photos: Path) -> None:
    """Raise PrunebenchError where the data folder is a folder of photos or lies in one: it is written to."""
    if root.resolve().is_relative_to(photos.resolve()):
        raise PrunebenchError(
            f"the data folder {root} lies in {photos}, which is never written to; choose another --data"
        )
