"""Decodes many photos with threads: yields blocks in order, notes bad and odd files, shows a bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prunebench.parts.artefacts import Array
from prunebench.system.cores import in_order, threads
from prunebench_plugins.datasets.io import squares
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoders import decoders

CHUNK_SIZE = 64  # photos that a thread decodes in one go


@dataclass(frozen=True, eq=False)
class Block:
    """Files that one thread decoded in one go.

    names: number of the files.
    pixels: uint8 [k, 3, side, side] of the k photos among them.
    bad: reason by position in the block, for files that are no photos or are broken.
    odd: remark by position in the block, for photos with something unusual.
    """

    names: int
    pixels: Array
    bad: dict[int, str]
    odd: dict[int, str]


@dataclass(eq=False)
class Findings:
    """The bad and the odd files among the first `names` files.

    names: number of files that were decoded.
    bad: reason by position in the names.
    odd: remark by position in the names.
    """

    names: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        """Add the next block."""
        self.bad |= {self.names + i: reason for i, reason in block.bad.items()}
        self.odd |= {self.names + i: remark for i, remark in block.odd.items()}
        self.names += block.names

    def since(self, start: int) -> dict[str, Any]:
        """Return the findings from position `start` on, as JSON."""
        bad = [[i, reason] for i, reason in self.bad.items() if i >= start]
        odd = [[i, remark] for i, remark in self.odd.items() if i >= start]
        return {"names": self.names, "bad": bad, "odd": odd}

    def take(self, line: dict[str, Any]) -> None:
        """Add findings that `since` returned.

        Raise ValueError, KeyError or TypeError, and change nothing, if they are anything else.
        """
        names = int(line["names"])
        bad = {int(i): str(reason) for i, reason in line["bad"]}
        odd = {int(i): str(remark) for i, remark in line["odd"]}
        self.names = names
        self.bad = self.bad | bad
        self.odd = self.odd | odd


def reach() -> int:
    """Return how many names apart two photos are, at most, that threads of `blocks` read at once."""
    return (2 * threads() + 2) * CHUNK_SIZE


def blocks(tree: Tree, names: Sequence[str], side: int) -> Iterator[Block]:
    """Decode the named files in parallel and yield blocks in order."""
    size = max(1, min(CHUNK_SIZE, len(names) // (2 * threads())))
    chunks = (names[start : start + size] for start in range(0, len(names), size))
    return in_order(lambda chunk: _decode(tree, chunk, side), chunks)


def _decode(tree: Tree, names: Sequence[str], side: int) -> Block:
    pixels: Array = np.empty((len(names), 3, side, side), np.uint8)
    bad: dict[int, str] = {}
    odd: dict[int, str] = {}
    filled = 0
    with decoders():
        for i, name in enumerate(names):
            try:
                remark = squares.fill(pixels[filled], _content(tree, name), name)
            except squares.BadPhotoError as error:
                bad[i] = str(error)
                continue
            filled += 1
            if remark:
                odd[i] = remark
    return Block(len(names), pixels[:filled], bad, odd)


def _content(tree: Tree, name: str) -> bytes:
    try:
        return tree.read(name)
    except MemoryError:
        raise
    except OSError as error:
        raise squares.BadPhotoError(error.strerror or str(error)) from None
    except Exception as error:  # the reader of a damaged archive may raise anything
        raise squares.BadPhotoError(" ".join(str(error).split()) or type(error).__name__) from None
