"""A user's own images: FOLDER/train/CLASS/* and FOLDER/test/CLASS/*."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.artefacts import Array
from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts import Dataset, require

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Folder(Dataset):
    """Images in one folder per class, as RGB squares of `side` pixels; used as folder:PATH@SIDE.

    The shorter side is shrunk or enlarged to `side`, bilinear, and the middle kept. The classes are
    the folders in train/, sorted; the images are sorted by class and file name. Names that begin with
    a dot and files that are not images are passed over.
    """

    version: ClassVar[int] = 2
    name: str = "folder"
    path: str
    side: int

    def __post_init__(self) -> None:
        require(self.side > 0, f"{self.name}.side", self.side, "above 0 pixels")

    @property
    def classes(self) -> tuple[str, ...]:
        """The folders in train/, sorted. Raise DataAbsentError where there is none."""
        return self._classes("train")

    @property
    def resolution(self) -> int:
        """`side`, in pixels."""
        return self.side

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of ImageNet: a convention for photos, not measured on these images."""
        return 0.485, 0.456, 0.406

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of ImageNet, by the same convention."""
        return 0.229, 0.224, 0.225

    @property
    def lineage(self) -> tuple[str, ...]:
        """Recipes list all folders as `folder`."""
        return self.name, "folder"

    def files(self, root: Path) -> list[Path]:
        """Return the image files of both splits; `root` is not looked at.

        Raise DataAbsentError where the folder, a split or every class folder of it is missing, and
        PrunebenchError where a split has no image or test/ has a class that train/ lacks.
        """
        return [path for split in ("train", "test") for path in self._files(split)]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        Raise, beside what `files` raises, PrunebenchError where images cannot be read.
        """
        files, places = self._files(split), {name: label for label, name in enumerate(self.classes)}
        images = np.empty((len(files), self.side, self.side, 3), dtype=np.uint8)
        unreadable = [path for path, image in zip(files, images, strict=True) if not _read_into(image, path)]
        if unreadable:
            more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
            raise PrunebenchError(
                f"not a readable image: {unreadable[0]}{more}; mend or remove what is broken"
            )
        labels = np.array([places[path.parent.name] for path in files], dtype=np.int64)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the path of each training image below train/, such as "cat/001.jpg"; raise as `files`."""
        top = Path(self.path).expanduser() / "train"
        return tuple(path.relative_to(top).as_posix() for path in self._files("train"))

    def _classes(self, split: str) -> tuple[str, ...]:
        top = Path(self.path).expanduser()
        layout = "expected train/CLASS/IMAGE and test/CLASS/IMAGE in it"
        if not top.is_dir():
            raise DataAbsentError(f"there is no folder {top}; {layout}")
        if not (top / split).is_dir():
            raise DataAbsentError(f"the folder {top} has no {split}/; {layout}")
        classes = sorted(p.name for p in (top / split).iterdir() if p.is_dir() and p.name[0] != ".")
        if not classes:
            raise DataAbsentError(f"{top / split} has no folder per class; {layout}")
        return tuple(classes)

    def _files(self, split: str) -> list[Path]:
        classes, top = self._classes(split), Path(self.path).expanduser() / split
        strange = sorted({*classes} - {*self.classes})
        if strange:
            raise PrunebenchError(
                f"{top} has a class {strange[0]!r} that train/ lacks ({len(strange)} such); "
                f"train/ has: {', '.join(self.classes)}"
            )
        files = sorted(path for name in classes for path in (top / name).iterdir() if _is_image(path))
        if not files:
            raise PrunebenchError(f"the folders in {top} hold no images ({', '.join(sorted(SUFFIXES))})")
        return files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def _read_into(image: Array, path: Path) -> bool:
    """Fill uint8 [side, side, 3] with the picture in a file; return whether it could be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            square = ImageOps.fit(opened.convert("RGB"), image.shape[:2], Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    image[:] = square
    return True
