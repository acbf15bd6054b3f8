"""Datasets of the Hugging Face hub, from its cache on this machine or downloaded into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench_plugins.datasets.folder import Folder
from prunebench_plugins.datasets.imagefolder import ImageFolder
from prunebench_plugins.datasets.io.shards import ShardedPhotos
from prunebench_plugins.datasets.io.square_photos import SquarePhotos
from prunebench_plugins.datasets.parquet import Parquet
from prunebench_plugins.datasets.webdataset import WebDataset


@dataclass(frozen=True, kw_only=True)
class Hub(SquarePhotos):
    """A dataset repository of the Hugging Face hub. Written hf:NAME@PIXELS, or hf:NAME@REVISION@PIXELS.

    Its files are read as `parquet`, `webdataset`, `imagefolder` or `folder`, the first of which it has files.

    path: name of the repository, such as "user/beans", or "user/beans@REVISION". A revision is a branch, a
        tag or a commit. Without one it is main.
    folder: folder in the repository, such as that of a configuration. "": all of it.
    label: column of the labels, as in `parquet`.
    """

    remote: ClassVar[bool] = True
    name: str = "hf"
    path: str
    folder: str = ""
    label: str = ""

    @property
    def lineage(self) -> tuple[str, ...]:
        """Its names, then `folder`: recipes of either hold for it."""
        return (*super().lineage, "folder")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the files. Raise DataAbsentError if they are not on this machine."""
        return self._local.classes

    def files(self, root: Path) -> list[Path]:
        """Return the files of both splits. Raise DataAbsentError if they are not on this machine."""
        return self._local.files(root)

    def fetch(self, root: Path) -> None:
        """Download the repository, unless it is there. Raise DataAbsentError if that cannot be done."""
        self._snapshot(download=True)
        self.files(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        Raise as the `load` of the family that its files are read as.
        """
        return self._local.load(root, split)

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the name of each training image. Raise as `load`."""
        return self._local.names(root)

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image, or () if these are packed. Raise as `load`."""
        return self._local.paths(root)

    @classmethod
    def unpack(cls, path: str, root: Path) -> Path:
        """Return a folder with the training images as files. Download the repository if it is not there.

        Raise DataAbsentError if that cannot be done.
        """
        dataset = cls(path=path, side=1)
        dataset._snapshot(download=True)
        local = dataset._local
        if isinstance(local, ShardedPhotos):
            return local.unpack(local.path, root)
        return Path(local.path) / "train"

    @property
    def _local(self) -> ShardedPhotos | Folder:
        """The dataset of the snapshot on this machine."""
        top = self._snapshot() / self.folder
        values: dict[str, Any] = {
            "path": str(top),
            "side": self.side,
            "on_bad": self.on_bad,
            "cache": self.cache,
        }
        for family in (Parquet, WebDataset, ImageFolder):
            if any(True for pattern in family.patterns for _ in top.rglob(pattern)):
                return family(**values, label=self.label) if family is Parquet else family(**values)
        return Folder(**values)

    def _snapshot(self, download: bool = False) -> Path:
        """Return the folder of the repository in the cache.

        download: whether to get what is not there.

        Raise DataAbsentError if it is not there, or cannot be downloaded.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError

        name, _, revision = self.path.partition("@")
        options: dict[str, Any] = {"repo_type": "dataset", "revision": revision or None}
        try:
            return Path(snapshot_download(name, local_files_only=True, **options))
        except HFValidationError as error:
            raise PrunebenchError(f"hf:{self.path}: {' '.join(str(error).split())}") from None
        except FileNotFoundError:
            reason = ""
        if download:
            try:
                return Path(snapshot_download(name, **options))
            except Exception as error:  # no network, no such repository, a full disk: the remedy is the same
                reason = f" ({type(error).__name__}: {' '.join(str(error).split())})"
        at = f" --revision {revision}" if revision else ""
        raise DataAbsentError(
            f"hf:{self.path} is not on this machine{reason}: run `hf download --repo-type dataset {name}{at}`"
        )
