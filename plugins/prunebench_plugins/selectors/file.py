"""File: a subset that somebody else chose, out of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Selector
from prunebench.parts.images import Images
from prunebench.parts.sampling import kept
from prunebench_plugins.columns import FromFile, there


@dataclass(frozen=True, kw_only=True)
class File(FromFile, Selector):
    """The training images that a .npy, .csv or .pt file lists, by index, mask or name.

    path: the file, or several, each for a ratio of its own: the one that keeps as many images as are to
    be kept is taken. annotation: 1 where true labels were read to choose them, 0 where none was. The
    other fields are those of `FromFile`; `column` is for a .pt alone.
    """

    name: ClassVar[str] = "file"
    path: Path | tuple[Path, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.per_class, "file.per_class", True, "false: the file has chosen already")
        self.check_columns(None, self.paths)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, none, one or several."""
        return self.path if isinstance(self.path, tuple) else () if self.path is None else (self.path,)

    def ready(self) -> None:
        """Raise PrunebenchError where no file is named, or where one is not on this machine."""
        for path in self.paths or (None,):
            there(path, "path")

    def select(self, images: Images, names: tuple[str, ...], fingerprint: str, keep: int) -> Array:
        """Return int [keep], unique; raise PrunebenchError unless exactly one file lists `keep` images."""
        self.ready()
        for path in self.paths:
            self.check_fingerprint(path, fingerprint)
        lists = {path: self.members(path, len(images), names, self.column) for path in self.paths}
        fitting = [path for path, chosen in lists.items() if len(chosen) == keep]
        if len(fitting) > 1:
            both = " and ".join(map(str, fitting))
            raise PrunebenchError(f"{both} both keep {keep} images; name one file for each ratio")
        if not fitting:
            told = "; ".join(
                f"{path} keeps {len(chosen)}, {_fit(len(images), len(chosen))}"
                for path, chosen in lists.items()
            )
            raise PrunebenchError(f"{keep} of {len(images)} images are to be kept, but {told}")
        return lists[fitting[0]]


def _fit(images: int, chosen: int) -> str:
    """Say at which ratio so many of the images are kept."""
    ratio = max((ratio for ratio in range(100) if kept(images, ratio) == chosen), default=None)
    return "which is no ratio" if ratio is None else f"which is ratio {ratio}"
