"""Folders of photos whose squares show which photo they were."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from prunebench_plugins.datasets.io import decoding
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import decoded


def written(image, kind="PNG", **more) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **more)
    return file.getvalue()


@dataclass
class Album:
    """Photos in a folder, and which of them were read."""

    place: Path
    data: Path
    reads: list = field(default_factory=list)
    stop: int | None = None

    def add(self, count: int, start=0) -> Album:
        self.place.mkdir(exist_ok=True)
        for number in range(start, start + count):
            image = np.full((4, 4, 3), (number, 2 * number, 255 - number), np.uint8)
            (self.place / f"{number:03}.png").write_bytes(written(image))
        return self

    @property
    def tree(self) -> Tree:
        def read(name):
            if self.stop is not None and len(self.reads) >= self.stop:
                raise KeyboardInterrupt
            self.reads.append(name)
            return (self.place / name).read_bytes()

        return Tree(self.place, tuple(sorted(path.name for path in self.place.iterdir())), read)

    def decoded(self, **more) -> decoding.Decoded:
        tree = self.tree
        return decoded(tree, tree.names, root=self.data, side=2, **more)

    def count(self, **more) -> int:
        """Return how many files a call reads."""
        before = len(self.reads)
        self.decoded(**more)
        return len(self.reads) - before


def numbers(found) -> list[int]:
    """Which photos of an album these are, by their pixels."""
    images = np.asarray(found.images[:])
    assert (images[:, 2] == 255 - images[:, 0]).all()
    return images[:, 0, 0, 0].tolist()
