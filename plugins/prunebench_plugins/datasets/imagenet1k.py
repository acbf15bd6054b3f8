"""ImageNet-1K: photos in a thousand classes, from the challenge of 2012."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.system import tables
from prunebench_plugins.datasets.class_names import class_table
from prunebench_plugins.datasets.io.copies import check_sizes, check_spread, folder_tree, read_tar
from prunebench_plugins.datasets.io.photo_dataset import PhotoDataset, Split

FOLDERS = {"train": "train", "test": "val"}  # labels of the images in test/ were never published
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
KIT = "ILSVRC2012_devkit_t12"
IN_NAME = re.compile(r"_(n[0-9]{8})\.[^.]+$")  # some copies: ILSVRC2012_val_00000001_n01751748.JPEG
KAGGLE = "LOC_val_solution.csv"
TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


@dataclass(frozen=True, kw_only=True)
class ImageNet1k(PhotoDataset):
    """1,281,167 training and 50,000 test images, color, of any size, 1000 classes.

    Classes have 732 to 1300 training images and 50 test images.
    The published validation images are the test split.
    Classes are ordered by WordNet ID. Images are ordered by class, then file name.

    train_images: number of training images.
    class_sizes: smallest and largest number of training images in a class.
    test_per_class: test images of each class.

    Source: O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
    """

    folders: ClassVar[tuple[str, ...]] = (
        *("imagenet1k", "imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
        *("imagenet1k/ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC"),
    )
    needed: ClassVar[tuple[str, ...]] = tuple(FOLDERS.values())
    remedy: ClassVar[str] = (
        "put its folders train and val into {root}/imagenet1k; after registration they are at "
        "https://image-net.org and at Kaggle, and docs/datasets.md says how to unpack them"
    )

    name: str = "imagenet1k"
    train_images: int = 1_281_167
    class_sizes: tuple[int, int] = (732, 1300)
    test_per_class: int = 50

    @property
    def classes(self) -> tuple[str, ...]:
        """The first word of each class in WordNet."""
        return tuple(class_table("imagenet1k").values())

    def absent(self, root: Path, reason: str) -> DataAbsentError:
        """Return the error that says how to get the files, or which archive to unpack."""
        if not reason:
            paths = [folder / name for folder in (root, root / "imagenet1k") for name in TARS]
            packed = [path for path in paths if path.is_file()]
            if packed:
                reason = f" ({packed[0]} has to be unpacked)"
        return super().absent(root, reason)

    def files(self, root: Path) -> list[Path]:
        """Return train/, val/, the class folders in them and the files with the labels of val/.

        The million images are not listed, so an image that is changed in place goes unnoticed.
        Raise DataAbsentError if train/ or val/ is missing.
        """
        folder = self.folder(root)
        split_folders = [folder / name for name in FOLDERS.values()]
        wnids = class_table("imagenet1k")
        class_folders = [path for top in split_folders for path in top.iterdir() if path.name in wnids]
        return [*split_folders, *sorted(class_folders), *_label_files(root, folder)]

    def split(self, root: Path, split: str) -> Split:
        """Return the images of train/ or val/. Those of val/ may lie in class folders or in val/ itself.

        Raise PrunebenchError if images are missing, or if a class is unknown or has a wrong size.
        """
        folder = self.folder(root)
        tree = folder_tree(folder, [FOLDERS[split]])
        source = f"{folder / FOLDERS[split]}"
        paths = [name.split("/") for name in tree.names if _is_image(name)]
        files = {(parts[1], parts[-1]): "/".join(parts) for parts in paths if len(parts) > 2}
        if split == "test" and not files:  # as published; most people sort them into class folders
            names = [parts[-1] for parts in paths]
            wnid_of = _validation_classes(names, root, folder)
            files = {(wnid, name): f"{FOLDERS[split]}/{name}" for name, wnid in wnid_of.items()}
        label_of = {wnid: label for label, wnid in enumerate(class_table("imagenet1k"))}
        unknown = sorted({wnid for wnid, _ in files} - {*label_of})
        if unknown:
            raise PrunebenchError(
                f"{source} has a class {unknown[0]!r}, which ImageNet-1K does not have. Get it again."
            )
        keys = sorted(files)
        labels = np.array([label_of[wnid] for wnid, _ in keys], dtype=np.int64)
        if split == "train":
            check_spread(labels, self.classes, self.train_images, *self.class_sizes, source)
        else:
            check_sizes(labels, self.classes, self.test_per_class, source)
        return Split(tree, tuple(files[key] for key in keys), tuple(map("/".join, keys)), labels)


def _is_image(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file[0] != "." and file.lower().endswith((".jpeg", ".jpg"))


def _label_files(root: Path, folder: Path) -> list[Path]:
    """Return the files on this machine that give the classes of the validation images, the best first."""
    folders = {folder: None, root: None}  # a dict keeps the order and drops duplicates
    if folder.name == "CLS-LOC":  # Kaggle's ILSVRC/Data/CLS-LOC: its table lies beside ILSVRC
        folders[folder.parents[2]] = None
    names = (KAGGLE, f"{KIT}/data/{TRUTH}", f"{KIT}.tar.gz")
    return [top / name for name in names for top in folders if (top / name).is_file()]


def _validation_classes(names: list[str], root: Path, folder: Path) -> dict[str, str]:
    """Return the WordNet ID of each file in val/ itself, by file name.

    It stands in the file name, or else in a file of labels. Raise PrunebenchError if it is in neither.
    """
    wnid_of = {name: match[1] for name in names if (match := IN_NAME.search(name))}
    unnamed = [name for name in names if name not in wnid_of]
    if not unnamed:
        return wnid_of
    label_files = _label_files(root, folder)
    if not label_files:
        raise PrunebenchError(
            f"{folder / FOLDERS['test']} has no class folders, and no file gives the classes of its images: "
            f"put {KIT}.tar.gz or {KAGGLE} into {folder}"
        )
    published = _published_classes(label_files[0])
    for name in unnamed:
        wnid = published.get(name.partition(".")[0])
        if wnid is None:
            raise PrunebenchError(f"{label_files[0]} gives no class for {name}. Get it again.")
        wnid_of[name] = wnid
    return wnid_of


def _published_classes(path: Path) -> Mapping[str, str]:
    """Return the WordNet ID of each validation image, by file name without ending."""
    try:
        return _solution(path) if path.name == KAGGLE else _ground_truth(path)
    except PrunebenchError:
        raise
    except Exception as error:  # the MATLAB reader may raise anything on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PrunebenchError(f"{path} cannot be read: {reason}. Get it again.") from None


def _solution(path: Path) -> Mapping[str, str]:
    """Return the WordNet ID of each image in Kaggle's table. Its second column is `ID box ID box ...`."""
    rows = tables.read(path, "ImageId", "PredictionString")
    empty = [line for line, (_, boxes) in rows if not boxes.split()]
    if empty:
        raise PrunebenchError(f"{path} names no class in line {empty[0]}. Get it again.")
    return {image: boxes.split()[0] for _, (image, boxes) in rows}


def _ground_truth(path: Path) -> Mapping[str, str]:
    """Return the WordNet ID of each image from the development kit, packed or not.

    The kit numbers the classes in its own order. Its table `synsets` gives the WordNet ID of each number.
    """
    from scipy.io import loadmat

    names = (TRUTH, "meta.mat")
    if path.name.endswith(".gz"):
        contents = read_tar(path, names)
    else:
        contents = {name: (path.parent / name).read_bytes() for name in names}
    table = loadmat(io.BytesIO(contents["meta.mat"]), squeeze_me=True)["synsets"]
    wnids = dict(zip(map(int, table["ILSVRC2012_ID"]), map(str, table["WNID"]), strict=True))
    numbers = map(int, contents[TRUTH].removeprefix(codecs.BOM_UTF8).split())
    return {f"ILSVRC2012_val_{i:08d}": wnids[number] for i, number in enumerate(numbers, 1)}
