"""A user's own images: FOLDER/train/CLASS/* and FOLDER/test/CLASS/*."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import is_clutter, is_photo
from prunebench.photos.formats import formats
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import Decoded, check_apart, decoded
from prunebench_plugins.datasets.io.square_photos import SquarePhotos


@dataclass(frozen=True, kw_only=True)
class Folder(SquarePhotos):
    """Images in one folder per class, as RGB squares of `side` pixels. Written folder:PATH@PIXELS.

    The classes are the folders in train/, sorted. The images are sorted by class, then file name.
    Names that begin with a dot and files that are no images are ignored.

    path: folder that holds train/ and test/. `~` is the home folder.
    """

    version: ClassVar[int] = 3  # photos are turned as their cameras say
    name: str = "folder"
    path: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The folders in train/, sorted. Raise DataAbsentError if there is none."""
        return self._classes("train")

    def files(self, root: Path) -> list[Path]:
        """Return the image files of both splits. `root` is not used.

        Raise DataAbsentError if the folder, a split or every class folder of a split is missing.
        Raise PrunebenchError if a split has no image, or test/ has a class that train/ lacks.
        """
        return [path for split in ("train", "test") for path in self._files(split)]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory, or decoded on access.
        Raise as `files`.
        Raise PrunebenchError if images cannot be read and `on_bad` is "fail".
        """
        names = self._names(split)
        photos = self._decode(root, split, names)
        label_of = {name: label for label, name in enumerate(self.classes)}
        labels = np.array([label_of[name.partition("/")[0]] for name in names], dtype=np.int64)
        return photos.images, labels[photos.kept]

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the path of each training image below train/, such as "cat/001.jpg". Raise as `load`."""
        names = self._names("train")
        if self.on_bad == "fail":  # nothing is skipped: `load` has all images or fails
            return names
        return tuple(names[i] for i in self._decode(root, "train", names).kept)

    def _names(self, split: str) -> tuple[str, ...]:
        top = Path(self.path).expanduser() / split
        return tuple(path.relative_to(top).as_posix() for path in self._files(split))

    def _decode(self, root: Path, split: str, names: tuple[str, ...]) -> Decoded:
        top = Path(self.path).expanduser()
        check_apart(root, top)
        tree = Tree(top / split, names, lambda name: (top / split / name).read_bytes())
        return decoded(tree, names, root=root, side=self.side, on_bad=self.on_bad, cache=self.cache)

    def _classes(self, split: str) -> tuple[str, ...]:
        top = Path(self.path).expanduser()
        layout = "expected train/CLASS/IMAGE and test/CLASS/IMAGE in it"
        if not os.path.isdir(top):  # noqa: PTH112 - Path raises for a name that is too long
            raise DataAbsentError(f"there is no folder {top}; {layout}")
        if not (top / split).is_dir():
            raise DataAbsentError(f"the folder {top} has no {split}/; {layout}")
        names = (path.name for path in (top / split).iterdir() if path.is_dir())
        classes = sorted(name for name in names if not is_clutter(name))
        if not classes:
            raise DataAbsentError(f"{top / split} has no folder per class; {layout}")
        return tuple(classes)

    def _files(self, split: str) -> list[Path]:
        classes = self._classes(split)
        top = Path(self.path).expanduser() / split
        unknown = sorted({*classes} - {*self.classes})
        if unknown:
            raise PrunebenchError(
                f"{top} has a class {unknown[0]!r} that train/ lacks ({len(unknown)} such); "
                f"train/ has: {', '.join(self.classes)}"
            )
        files = sorted(path for name in classes for path in (top / name).iterdir() if _is_image(path))
        if not files:
            raise PrunebenchError(f"the folders in {top} hold no images ({', '.join(sorted(formats()))})")
        return files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in formats() and path.name[0] != "." and is_photo(str(path))
