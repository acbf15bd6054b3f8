"""What the datasets of large photos share: found as people have them, unpacked, and decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from prunebench.errors import DataAbsentError
from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.io.archives import Archive, download, unpack
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import Decoded, decoded
from prunebench_plugins.datasets.io.square_photos import SquarePhotos


@dataclass(frozen=True, eq=False)
class Split:
    """The images of a split, in their order. files: what the tree calls them. names: what we call them.

    labels: int64 [n].
    """

    tree: Tree
    files: tuple[str, ...]
    names: tuple[str, ...]
    labels: Array


@dataclass(frozen=True, kw_only=True)
class PhotoDataset(SquarePhotos):
    """A published dataset of photos, from whose squares recipes crop.

    verify: whether what has a published digest is compared with it.

    A subclass says how it is published: folders, below the data folder, in which `needed` lie, the first
    that has them counts; archives that unpack to such folders, looked for in `packed`; remedy, a clause
    that says what to put where.
    """

    folders: ClassVar[tuple[str, ...]]
    needed: ClassVar[tuple[str, ...]]
    archives: ClassVar[tuple[Archive, ...]] = ()
    packed: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str]

    side: int = 256
    verify: bool = True

    def fetch(self, root: Path) -> None:
        """Unpack the archive that is there, or download it, unless the files are there already.

        Raise DataAbsentError where there is neither file nor archive nor download, and PrunebenchError
        where an archive is damaged or refused.
        """
        try:
            self.place(root)
        except DataAbsentError:
            found = self._archive(root) or self._downloaded(root)
            if found is None:
                raise
            unpack(*found, verify=self.verify)
        self.files(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory. Raise PrunebenchError where the copy is not whole, or where
        images cannot be read and are not skipped.
        """
        listed = self.split(root, split)
        found = self._decoded(listed, root)
        return found.images, listed.labels[found.kept]

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the names of the training images; raise as `load`."""
        listed = self.split(root, "train")
        return tuple(listed.names[place] for place in self._left(listed, root))

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image; raise as `load`."""
        listed = self.split(root, "train")
        return tuple(listed.tree.place / listed.files[place] for place in self._left(listed, root))

    def _left(self, listed: Split, root: Path) -> Sequence[int]:
        """Return which of the listed images there are: all, unless some cannot be read and are skipped."""
        if self.on_bad == "fail":
            return range(len(listed.names))
        return self._decoded(listed, root).kept.tolist()  # type: ignore[no-any-return]

    def split(self, root: Path, split: str) -> Split:
        """Return what the images of a split are, none decoded; raise PrunebenchError for a wrong copy."""
        raise NotImplementedError

    def place(self, root: Path) -> Path:
        """Return the first folder that has all that is needed; raise DataAbsentError where none has."""
        partial = ""
        for folder in dict.fromkeys(root / name for name in self.folders):
            missing = [name for name in self.needed if not (folder / name).exists()]
            if not missing:
                return folder
            if len(missing) < len(self.needed):
                partial = partial or f" ({folder} has no {', '.join(missing)})"
        raise self.absent(root, partial)

    def absent(self, root: Path, reason: str) -> DataAbsentError:
        """Return the error that says where to get the files, and why those that are there do not do."""
        if (found := self._archive(root)) and not reason:
            reason = f" ({found[1]} is not unpacked yet, which `prunebench run` does)"
        return DataAbsentError(f"{self.name} is not on this machine{reason}: {self.remedy.format(root=root)}")

    def _archive(self, root: Path) -> tuple[Archive, Path] | None:
        for folder in (root / name for name in self.packed):
            for archive in self.archives:
                if (folder / archive.name).is_file():
                    return archive, folder / archive.name
        return None

    def _downloaded(self, root: Path) -> tuple[Archive, Path] | None:
        archive = next((archive for archive in self.archives if archive.url), None)
        if archive is None:
            return None
        try:
            return archive, download(archive, root)
        except Exception as error:  # no network, a full disk, a server that is down: the remedy is the same
            raise self.absent(root, f" (download failed: {' '.join(str(error).split())})") from None

    def _decoded(self, split: Split, root: Path) -> Decoded:
        return decoded(
            split.tree, split.files, root=root, side=self.side, on_bad=self.on_bad, cache=self.cache
        )
