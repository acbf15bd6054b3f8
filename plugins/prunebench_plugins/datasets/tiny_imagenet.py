"""Tiny-ImageNet: two hundred classes of ImageNet, at 64 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench.photos.folder import some
from prunebench_plugins.datasets.class_names import class_table
from prunebench_plugins.datasets.io.copies import Tree, check_sizes, folder_tree, text_lines, zip_tree
from prunebench_plugins.datasets.io.small_images import decoded_as_published

HOME = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FOLDERS = {"train": "train", "test": "val"}  # the images in test/ have no labels


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Dataset):
    """100,000 training and 10,000 test images, color, 64 x 64 pixels, 200 classes of equal size.

    The published validation images are the test split.
    Classes are ordered by WordNet ID. Images are ordered by class, then file name.

    train_per_class: training images of each class.
    test_per_class: test images of each class.

    Source: Y. Le and X. Yang, Tiny ImageNet Visual Recognition Challenge, 2015.
    """

    # Of the training split, as in the code of Moderate-DS.
    info: ClassVar[DatasetInfo] = DatasetInfo(
        resolution=64, mean=(0.4802, 0.4481, 0.3975), std=(0.2302, 0.2265, 0.2262)
    )

    name: str = "tiny_imagenet"
    train_per_class: int = 500
    test_per_class: int = 50

    @property
    def classes(self) -> tuple[str, ...]:
        """The first word of each class in WordNet."""
        return tuple(class_table("tiny_imagenet").values())

    def files(self, root: Path) -> list[Path]:
        """Return all files in train/ and val/ of the first folder that has both, or else the zip archive.

        Folder and archive are called tiny-imagenet-200 and lie in root or root/tiny_imagenet.
        The folder may also be root/tiny_imagenet itself.
        Raise DataAbsentError if there is neither.
        """
        path = self._locate(root)
        if path.is_file():
            return [path]
        names = folder_tree(path, FOLDERS.values()).names
        return [path / name for name in sorted(names, key=lambda name: (name.count("/"), name))]

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, 64, 64], and labels, int64 [n], of "train" or "test".

        Gray images become RGB.
        Raise PrunebenchError if images are missing, cannot be read or have another size.
        """
        tree = self._tree(root, split)
        files = _by_class(tree, split)
        label_of = {wnid: label for label, wnid in enumerate(class_table("tiny_imagenet"))}
        labels = np.array([label_of[wnid] for wnid, _ in files], dtype=np.int64)
        source = f"{tree.path / FOLDERS[split]}"
        per_class = self.train_per_class if split == "train" else self.test_per_class
        check_sizes(labels, self.classes, per_class, source)
        return decoded_as_published(tree.read, list(files.values()), self.resolution, source), labels

    def names(self, root: Path) -> tuple[str, ...]:
        """Return WNID/FILE of each training image, without folders in between. Raise as `load`."""
        return tuple("/".join(key) for key in _by_class(self._tree(root, "train"), "train"))

    def _tree(self, root: Path, split: str) -> Tree:
        path = self._locate(root)
        if path.is_file():
            return zip_tree(path, FOLDERS[split])
        return folder_tree(path, [FOLDERS[split]])

    def _locate(self, root: Path) -> Path:
        """Return the folder with train/ and val/, or the zip archive."""
        named = root / self.name
        published = root / "tiny-imagenet-200"
        partial = ""  # the first folder that has only one of them, for the message
        for folder in (named, published, named / published.name, published / published.name):
            missing = [name for name in FOLDERS.values() if not (folder / name).is_dir()]
            if not missing:
                return folder
            if len(missing) < len(FOLDERS):
                partial = partial or f" ({folder} has no {missing[0]})"
        for archive in (root / f"{published.name}.zip", named / f"{published.name}.zip"):
            if archive.is_file():
                return archive
        raise DataAbsentError(
            f"{self.name} is not on this machine{partial}: put {published.name}.zip, packed or unpacked, "
            f"into {root}; it was published at {HOME}"
        )


def _by_class(tree: Tree, split: str) -> dict[tuple[str, str], str]:
    """Return {(WordNet ID, file name): name in the tree} of a split, sorted by key.

    Raise PrunebenchError if an image is of no class, or of one that Tiny-ImageNet does not have.
    """
    folder = FOLDERS[split]
    files: dict[tuple[str, str], str] = {}
    annotations: dict[str, str] | None = None
    for name in tree.names:
        first, *inner, file = name.split("/")
        if first != folder or not inner or file[0] == "." or not file.lower().endswith((".jpeg", ".jpg")):
            continue
        wnid = inner[0]
        if split == "test" and wnid == "images":  # as published; some people sort them into class folders
            if annotations is None:
                annotations = _annotations(tree)
            wnid = annotations.get(file, "")
            if not wnid:
                raise PrunebenchError(
                    f"{tree.path / folder / 'val_annotations.txt'} gives no class for {file}. Get it again."
                )
        files[wnid, file] = name
    if strange := sorted({wnid for wnid, _ in files} - class_table("tiny_imagenet").keys()):
        images = sum(wnid in strange for wnid, _ in files)
        raise PrunebenchError(
            f"{tree.path / folder} has images of {len(strange)} class(es) that Tiny-ImageNet does not have: "
            f"{some(strange)}. Remove these {images} image(s), or get the published copy."
        )
    return dict(sorted(files.items()))


def _annotations(tree: Tree) -> dict[str, str]:
    """Return the WordNet ID of each published validation image, by file name."""
    name = f"{FOLDERS['test']}/val_annotations.txt"
    if name not in tree.names:
        raise PrunebenchError(f"{tree.path / name} is missing: val/images has no labels without it.")
    lines = (line.split() for line in text_lines(tree.read(name)))
    return {words[0]: words[1] for words in lines if len(words) > 1}
