"""Base of the datasets of large photos: finds the files, unpacks archives and decodes photos once."""

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
    """The n images of a split, in their order.

    tree: the files of the dataset.
    files: name of each image in the tree.
    names: name of each image for users.
    labels: int64 [n].
    """

    tree: Tree
    files: tuple[str, ...]
    names: tuple[str, ...]
    labels: Array


@dataclass(frozen=True, kw_only=True)
class PhotoDataset(SquarePhotos):
    """A published dataset of photos. Recipes crop from its squares.

    verify: whether files with a published digest must match it.

    A subclass sets, and defines `classes` and `split`:

    folders: folders of the dataset, below the data folder. The first complete one is used.
    needed: names that a complete folder has.
    archives: archives that unpack to such a folder.
    packed: folders, below the data folder, in which to look for the archives.
    remedy: clause of the error message that says how to get the files. {root} is the data folder.
    """

    folders: ClassVar[tuple[str, ...]]
    needed: ClassVar[tuple[str, ...]]
    archives: ClassVar[tuple[Archive, ...]] = ()
    packed: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str]

    side: int = 256
    verify: bool = True

    def fetch(self, root: Path) -> None:
        """Unpack the archive, or else download and unpack it, unless the folder is there already.

        Raise DataAbsentError if there is no folder and no archive, and no download succeeds.
        Raise PrunebenchError if the archive is damaged or refused.
        """
        try:
            self.folder(root)
        except DataAbsentError:
            packed = self._archive(root) or self._download(root)
            if packed is None:
                raise
            archive, path = packed
            unpack(archive, path, verify=self.verify)
        self.files(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        The images may be mapped into memory.
        Raise PrunebenchError if the copy is incomplete.
        Raise PrunebenchError if images cannot be read and `on_bad` is "fail".
        """
        images = self.split(root, split)
        photos = self._decode(images, root)
        return photos.images, images.labels[photos.kept]

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the name of each training image. Raise as `load`."""
        train = self.split(root, "train")
        return tuple(train.names[i] for i in self._kept(train, root))

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image. Raise as `load`."""
        train = self.split(root, "train")
        return tuple(train.tree.path / train.files[i] for i in self._kept(train, root))

    def _kept(self, split: Split, root: Path) -> Sequence[int]:
        """Return the indices of the images that `load` returns."""
        if self.on_bad == "fail":  # nothing is skipped: `load` has all images or fails
            return range(len(split.names))
        return self._decode(split, root).kept.tolist()  # type: ignore[no-any-return]

    def split(self, root: Path, split: str) -> Split:
        """Return the files and labels of "train" or "test" without decoding any image.

        Raise PrunebenchError if the copy is not the published one.
        """
        raise NotImplementedError

    def folder(self, root: Path) -> Path:
        """Return the first complete folder of the dataset. Raise DataAbsentError if there is none."""
        partial = ""  # the first folder that has some of the files, for the message
        for folder in dict.fromkeys(root / name for name in self.folders):
            missing = [name for name in self.needed if not (folder / name).exists()]
            if not missing:
                return folder
            if len(missing) < len(self.needed) and not partial:
                partial = f" ({folder} has no {', '.join(missing)})"
        raise self.absent(root, partial)

    def absent(self, root: Path, reason: str) -> DataAbsentError:
        """Return the error that says how to get the files. `reason`: why those on this machine do not do."""
        packed = self._archive(root)
        if packed and not reason:
            reason = f" ({packed[1]} is not unpacked yet; `prunebench run` unpacks it)"
        return DataAbsentError(f"{self.name} is not on this machine{reason}: {self.remedy.format(root=root)}")

    def _archive(self, root: Path) -> tuple[Archive, Path] | None:
        """Return the first archive on this machine and its path."""
        for folder in (root / name for name in self.packed):
            for archive in self.archives:
                if (folder / archive.name).is_file():
                    return archive, folder / archive.name
        return None

    def _download(self, root: Path) -> tuple[Archive, Path] | None:
        """Download the first archive that can be, and return it and its path."""
        archive = next((archive for archive in self.archives if archive.url), None)
        if archive is None:
            return None
        try:
            return archive, download(archive, root)
        except Exception as error:  # no network, a full disk, a server that is down: the remedy is the same
            raise self.absent(root, f" (download failed: {' '.join(str(error).split())})") from None

    def _decode(self, split: Split, root: Path) -> Decoded:
        return decoded(
            split.tree, split.files, root=root, side=self.side, on_bad=self.on_bad, cache=self.cache
        )
