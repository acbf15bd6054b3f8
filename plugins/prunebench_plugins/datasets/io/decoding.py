"""Photos as squares of pixels: decoded once and kept on disk, or decoded on each access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from prunebench.errors import PrunebenchError, choice
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import some
from prunebench_plugins.datasets.io.blocks import Findings, blocks
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.pixel_cache import Work

SMALL = 64 * 2**20  # photos are decoded into memory if their files and their pixels have fewer bytes
SHOWN = 5  # bad files named in a message
CACHE_SIZE = 2  # small sets of photos kept in memory: both splits of a dataset
_RECENT: dict[str, tuple[Array | None, Findings]] = {}


@dataclass(frozen=True, eq=False)
class Decoded:
    """The m readable photos of a list, as squares.

    images: uint8 [m, 3, side, side], read-only, mapped into memory unless small. An `Undecoded` without a
        cache.
    kept: int64 [m], position of each photo in the list.
    odd: a line for each photo with something unusual, such as CMYK or a wrong ending.
    """

    images: Array
    kept: Array
    odd: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Undecoded:
    """Photos that look like an array and are decoded on each access.

    tree: the files of the photos.
    names: file of each photo in the tree. All were readable once.
    side: side of the squares in pixels.
    """

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
        """Return uint8 [b, 3, side, side] for a slice or an int array.

        Raise PrunebenchError if a file can no longer be read.
        """
        names = self.names[index] if isinstance(index, slice) else tuple(self.names[i] for i in index)
        images: Array = np.empty((len(names), *self.shape[1:]), np.uint8)
        start = 0
        for block in blocks(self.tree, names, self.side):
            for i, reason in block.bad.items():
                path = self.tree.path / names[start + i]
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
    """Return the named photos of a tree as squares. `squares.fill` describes the squares.

    Photos are decoded once and kept in root/decoded. They are decoded again if a name, a size or a time of
    the files changes. Small sets are decoded into memory instead: less than 64 MiB of files and of pixels.
    If a call is killed, the next one continues. The photos themselves are never written.

    names: the photos, as the tree names them.
    root: the data folder.
    side: side of the squares in pixels.
    on_bad: "skip" leaves out files that are no photos or are broken. "fail" raises an error for them.
    cache: False keeps no pixels. Photos are then checked once, and decoded on each access.
    empty: whether the result may be empty.

    Raise PrunebenchError if `on_bad` is "fail" and files are bad. The message counts them.
    Raise PrunebenchError if no file can be read, unless `empty`.
    Raise PrunebenchError if the disk lacks room.
    """
    choice("on_bad", on_bad, ("fail", "skip"))
    work = Work(tree, tuple(names), side, cache, root / "decoded")
    key, size = work.stamp()
    small = max(size, len(work.names) * work.row) < SMALL
    pixels, findings = _in_memory(key, work) if small else work.on_disk(key)
    nothing_left = len(findings.bad) == len(work.names) and not empty
    if findings.bad and (on_bad == "fail" or nothing_left):
        raise _bad_photos(key, work, findings, on_bad)
    kept = np.delete(np.arange(len(work.names)), list(findings.bad))
    if pixels is None:
        pixels = cast(Array, Undecoded(tree, tuple(work.names[i] for i in kept), side))
    else:
        pixels.setflags(write=False)
    return Decoded(pixels, kept, tuple(f"{work.names[i]}: {remark}" for i, remark in findings.odd.items()))


def _bad_photos(key: str, work: Work, findings: Findings, on_bad: str) -> PrunebenchError:
    lines = [f"{some([work.names[i]])} ({reason})" for i, reason in findings.bad.items()]
    more = ""
    if len(lines) > SHOWN:
        more = f" and {len(lines) - SHOWN} more{work.list_bad(key, findings)}"
    advice = "mend or remove them"
    if on_bad == "fail":
        advice += ", or leave them out with --on-bad skip"
    else:
        advice += ": nothing is left"
    return PrunebenchError(
        f"{len(lines)} of the {len(work.names)} images in {work.tree.path} cannot be read: "
        f"{', '.join(lines[:SHOWN])}{more}; {advice}"
    )


def _in_memory(key: str, work: Work) -> tuple[Array | None, Findings]:
    """Decode into memory, or return the pixels of a recent call."""
    # A dataset asks twice for the same photos: in `names` and in `load`.
    if key not in _RECENT:
        while len(_RECENT) >= CACHE_SIZE:
            del _RECENT[next(iter(_RECENT))]
        _RECENT[key] = work.in_memory()
    return _RECENT[key]


def check_apart(root: Path, photos: Path) -> None:
    """Raise PrunebenchError if the data folder lies in the folder of photos, which is never written to."""
    if root.resolve().is_relative_to(photos.resolve()):
        raise PrunebenchError(
            f"the data folder {root} lies in {photos}, which is never written to; choose another --data"
        )
