"""File: reads a subset that somebody else chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector
from prunebench.parts.images import Images
from prunebench.parts.sampling import kept
from prunebench_plugins.columns import FromFile, existing_file


@dataclass(frozen=True, kw_only=True)
class File(FromFile, Selector):
    """The training images that a .npy, .csv, .parquet or .pt file lists, by index, mask or name.

    path: the file, or one file for each ratio. The file that lists `keep` images is taken. None = not set,
        which `ready` refuses.
    label_fraction: 1 if true labels were read to choose the images, 0 if none was.
    column: an entry of a dict in a .pt alone.

    The other fields are those of `FromFile`.
    """

    name: ClassVar[str] = "file"
    path: Path | tuple[Path, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.per_class, "file.per_class", True, "false: the file has chosen already")
        self.check_columns(None, self.paths)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files: none, one or several."""
        if self.path is None:
            return ()
        if isinstance(self.path, tuple):
            return self.path
        return (self.path,)

    def ready(self) -> None:
        """Raise PrunebenchError if no file is named, or if one is not on this machine."""
        for path in self.paths or (None,):
            existing_file(path, "path")

    def select(self, images: Images, names: tuple[str, ...], fingerprint: str, keep: int) -> Array:
        """Return int [keep], unique. Raise PrunebenchError unless exactly one file lists `keep` images."""
        self.ready()
        for path in self.paths:
            self.check_fingerprint(path, fingerprint)
        lists = {path: self.members(path, len(images), names, self.column) for path in self.paths}
        fitting = [path for path, members in lists.items() if len(members) == keep]
        if len(fitting) > 1:
            both = " and ".join(map(str, fitting))
            raise PrunebenchError(f"{both} both keep {keep} images; name one file for each ratio")
        if not fitting:
            sizes = "; ".join(
                f"{path} keeps {len(members)}, {_fit(len(images), len(members))}"
                for path, members in lists.items()
            )
            raise PrunebenchError(f"{keep} of {len(images)} images are to be kept, but {sizes}")
        return lists[fitting[0]]


def _fit(images: int, chosen: int) -> str:
    """Name the largest ratio that keeps `chosen` of the images, for a message."""
    ratio = max((ratio for ratio in range(100) if kept(images, ratio) == chosen), default=None)
    return "which is no ratio" if ratio is None else f"which is ratio {ratio}"
