"""Small images in train/CLASS/ and test/CLASS/: a folder of these, or an archive of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import some
from prunebench.photos.formats import formats
from prunebench_plugins.datasets.io.copies import Tree, check_sizes, folder_tree, tar_tree, zip_tree
from prunebench_plugins.datasets.io.small_images import decoded_as_published

SPLITS = ("train", "test")
ENDINGS = ("tar.xz", "tar.gz", "tgz", "tar", "zip")  # of archives


@dataclass(frozen=True, kw_only=True)
class ClassFolders:
    """A copy of a dataset in folders of classes. An image is of the class whose folder holds it.

    Between a split and its classes may be one more level, such as the superclasses of CIFAR-100.
    Images are ordered by the name of the class, then by file name.

    path: the folder that holds train/ and test/, or the archive.
    classes: the names of the classes, in the order of their labels.
    kind: format of the images, "JPEG" or "PNG".
    otherwise: what to do with images of another format, for the message.
    """

    path: Path
    classes: tuple[str, ...]
    kind: str
    otherwise: str

    def files(self) -> list[Path]:
        """Return all files of both splits, sorted, or the archive."""
        if self.path.is_file():
            return [self.path]
        return [self.path / name for name in sorted(folder_tree(self.path, SPLITS).names)]

    def load(self, split: str, side: int, per_class: int) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, side, side], and labels, int64 [n], of "train" or "test".

        side: published width and height in pixels.
        per_class: images of each class.

        Raise PrunebenchError if there are too few or too many classes or images.
        Raise PrunebenchError if images cannot be read or have another format or size.
        """
        tree = self._tree(split)
        images = self._images(tree, split)
        label_of = {name: label for label, name in enumerate(self.classes)}
        labels = np.array([label_of[name] for name, _ in images], dtype=np.int64)
        source = f"{tree.path / split}"
        check_sizes(labels, self.classes, per_class, source)
        return decoded_as_published(tree.read, list(images.values()), side, source, self.kind), labels

    def names(self) -> tuple[str, ...]:
        """Return CLASS/FILE of each training image, without folders in between. Raise as `load`."""
        return tuple("/".join(key) for key in self._images(self._tree("train"), "train"))

    def _tree(self, split: str) -> Tree:
        if not self.path.is_file():
            return folder_tree(self.path, [split])
        return zip_tree(self.path, split) if self.path.suffix == ".zip" else tar_tree(self.path, split)

    def _images(self, tree: Tree, split: str) -> dict[tuple[str, str], str]:
        """Return {(class, file name): name in the tree} of a split, sorted by key.

        Raise PrunebenchError for images of another format, or of a class that the dataset does not have.
        """
        images = {}
        others = []
        for name in tree.names:
            *folders, file = name.split("/")
            kind = formats().get(PurePosixPath(file).suffix.lower())
            if kind is None or len(folders) < 2:  # no image, or of no class
                continue
            if kind != self.kind:
                others.append(name)
            images[folders[-1], file] = name
        if others:
            raise PrunebenchError(
                f"{tree.path} has {len(others)} image(s) in {split} that are not {self.kind}, such as "
                f"{min(others)}; {self.otherwise}"
            )
        if strange := sorted({folder for folder, _ in images} - {*self.classes}):
            raise PrunebenchError(
                f"{tree.path / split} has {len(strange)} class(es) that the dataset does not have: "
                f"{some(strange)}. Remove them, or get it again."
            )
        return dict(sorted(images.items()))


def located(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first folder with train/ and test/, or else the first archive, or None.

    It lies in root, or in a folder of root that has one of the names.

    names: what the folder may be called, and the archive before its ending.
    """
    for folder in _below(root, names):
        if all((folder / split).is_dir() for split in SPLITS):
            return folder
    for stem in _below(root, names):
        for ending in ENDINGS:
            archive = stem.with_name(f"{stem.name}.{ending}")
            if archive.is_file():
                return archive
    return None


def _below(root: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        yield root / name
        yield from (root / name / inner for inner in names)
