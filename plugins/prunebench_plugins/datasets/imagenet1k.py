"""ImageNet-1K: the thousand classes of the challenge of 2012."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.system import tables
from prunebench_plugins.datasets.imagenet_classes import IMAGENET
from prunebench_plugins.datasets.io.copies import check_sizes, check_spread, folder_tree, read_tar
from prunebench_plugins.datasets.io.photo_dataset import PhotoDataset, Split

FOLDERS = {"train": "train", "test": "val"}  # those of the images in test/ were never published
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
KIT = "ILSVRC2012_devkit_t12"
IN_NAME = re.compile(r"_(n[0-9]{8})\.[^.]+$")  # some copies: ILSVRC2012_val_00000001_n01751748.JPEG
KAGGLE = "LOC_val_solution.csv"
TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


@dataclass(frozen=True, kw_only=True)
class ImageNet1k(PhotoDataset):
    """1,281,167 training and 50,000 test images, colour, of any size; 732 to 1300, and 50, of 1000 classes.

    The published validation images are the test split. Classes are ordered by WordNet ID; images by class,
    then file name. train_images, class_sizes: how many there are, the least and the most in a class;
    test_per_class likewise. Source: O. Russakovsky et al., ImageNet Large Scale Visual Recognition
    Challenge, IJCV 2015.
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
        """The first word that WordNet has for each class."""
        return tuple(IMAGENET.values())

    def absent(self, root: Path, reason: str) -> DataAbsentError:
        """Return the error that says where to get the files, or that an archive has to be unpacked."""
        paths = [top / name for top in (root, root / "imagenet1k") for name in TARS]
        if packed := [path for path in paths if path.is_file()]:
            reason = reason or f" ({packed[0]} has to be unpacked)"
        return super().absent(root, reason)

    def files(self, root: Path) -> list[Path]:
        """Return train/, val/, the folders in them and what says the classes of val/.

        Not a million images: an image that somebody changes in place is not noticed. Raise DataAbsentError
        where train/ or val/ is missing.
        """
        place = self.place(root)
        tops = [place / name for name in FOLDERS.values()]
        inner = [path for top in tops for path in top.iterdir() if path.name in IMAGENET]
        return [*tops, *sorted(inner), *_truths(root, place)]

    def split(self, root: Path, split: str) -> Split:
        """Return the images of train/, or those of val/, whether these lie in folders of classes or not."""
        place = self.place(root)
        tree, where = folder_tree(place, [FOLDERS[split]]), f"{place / FOLDERS[split]}"
        inside = [name.split("/") for name in tree.names if _is_image(name)]
        found = {(parts[1], parts[-1]): "/".join(parts) for parts in inside if len(parts) > 2}
        if split == "test" and not found:  # as published; most people sort them into folders of classes
            flat = [parts[-1] for parts in inside]
            found = {key: f"{FOLDERS[split]}/{key[1]}" for key in _classified(flat, root, place)}
        strange = sorted({wnid for wnid, _ in found} - {*IMAGENET})
        if strange:
            raise PrunebenchError(
                f"{where} has a class {strange[0]!r}, which ImageNet-1K does not have. Get it again."
            )
        number = {wnid: label for label, wnid in enumerate(IMAGENET)}
        keys = sorted(found)
        labels = np.array([number[wnid] for wnid, _ in keys], dtype=np.int64)
        if split == "train":
            check_spread(labels, self.classes, self.train_images, *self.class_sizes, where)
        else:
            check_sizes(labels, self.classes, self.test_per_class, where)
        return Split(tree, tuple(found[key] for key in keys), tuple(map("/".join, keys)), labels)


def _is_image(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file[0] != "." and file.lower().endswith((".jpeg", ".jpg"))


def _truths(root: Path, place: Path) -> list[Path]:
    """Return what is there of the files that say of which class a validation image is."""
    tops = dict.fromkeys((place, root, place.parents[2] if place.name == "CLS-LOC" else place))
    names = (KAGGLE, f"{KIT}/data/{TRUTH}", f"{KIT}.tar.gz")
    return [top / name for name in names for top in tops if (top / name).is_file()]


def _classified(files: list[str], root: Path, place: Path) -> Iterator[tuple[str, str]]:
    """Yield the WordNet ID and the name of each of the files, which lie in val/ itself."""
    said = {file: match[1] for file in files if (match := IN_NAME.search(file))}
    left = [file for file in files if file not in said]
    truths = _truths(root, place)
    if left and not truths:
        raise PrunebenchError(
            f"{place / FOLDERS['test']} has no folders of classes, and nothing says of which its images are: "
            f"put {KIT}.tar.gz or {KAGGLE} into {place}"
        )
    known = _known(truths[0]) if left else {}
    for file in left:
        wnid = known.get(file.partition(".")[0])
        if wnid is None:
            raise PrunebenchError(f"{truths[0]} does not say of which class {file} is. Get it again.")
        said[file] = wnid
    for file, wnid in said.items():
        yield wnid, file


def _known(path: Path) -> Mapping[str, str]:
    """Return the WordNet ID of each validation image, by its name without ending."""
    try:
        return _solution(path) if path.name == KAGGLE else _ground_truth(path)
    except PrunebenchError:
        raise
    except Exception as error:  # whatever the reader of MATLAB's format makes of bytes from anywhere
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PrunebenchError(f"{path} cannot be read: {reason}. Get it again.") from None


def _solution(path: Path) -> Mapping[str, str]:
    """Return the WordNet ID of each image of Kaggle's table, whose second column is `ID box ID box ...`."""
    rows = tables.read(path, "ImageId", "PredictionString")
    if empty := [line for line, (_, boxes) in rows if not boxes.split()]:
        raise PrunebenchError(f"{path} names no class in line {empty[0]}. Get it again.")
    return {image: boxes.split()[0] for _, (image, boxes) in rows}


def _ground_truth(path: Path) -> Mapping[str, str]:
    """Return the WordNet ID of each image, from the development kit, packed or not.

    It numbers the classes in an order of its own, which its table of them translates.
    """
    from scipy.io import loadmat

    names = (TRUTH, "meta.mat")
    packed = path.name.endswith(".gz")
    contents = read_tar(path, names) if packed else {n: (path.parent / n).read_bytes() for n in names}
    table = loadmat(io.BytesIO(contents["meta.mat"]), squeeze_me=True)["synsets"]
    wnids = dict(zip(map(int, table["ILSVRC2012_ID"]), map(str, table["WNID"]), strict=True))
    numbers = map(int, contents[TRUTH].removeprefix(codecs.BOM_UTF8).split())
    return {f"ILSVRC2012_val_{place:08d}": wnids[number] for place, number in enumerate(numbers, 1)}
