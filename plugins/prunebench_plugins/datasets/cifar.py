"""CIFAR-10 and CIFAR-100: color images of 32 x 32 pixels, in 10 and in 100 classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench_plugins.datasets.class_names import class_names
from prunebench_plugins.datasets.io.class_folders import ClassFolders, located
from prunebench_plugins.datasets.io.copies import check_digest, check_sizes, read_tar
from prunebench_plugins.datasets.io.pickles import PickledArray, text, unpickle

PIXELS = 3 * 32 * 32
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class Edition:
    """One of the two published forms: the Python edition of pickles, or the binary edition of byte rows.

    folder: folder that the archive unpacks to.
    archives: file names of the archive, gzipped first, then plain.
    train: digest in hex (MD5 or SHA256) of each file of training images.
    test: digest in hex of each file of test images.
    meta: file with the class names.
    key: key of the class names in the pickle `meta`, or "" in the binary edition.
    labels: key of the labels in a pickle, or position of the label in a row of bytes.
    """

    folder: str
    archives: tuple[str, ...]
    train: Mapping[str, str]
    test: Mapping[str, str]
    meta: str
    key: str
    labels: str | int

    @property
    def names(self) -> tuple[str, ...]:
        """All files of the edition."""
        return *self.train, *self.test, self.meta


@dataclass(frozen=True, kw_only=True)
class Cifar(Dataset):
    """Base of CIFAR-10 and CIFAR-100: reads either edition, or folders of classes, or an archive of one.

    editions: the published forms.
    torchvision: the name of the dataset there, for its download.
    jpeg: what to do with JPEG images, for the message. They are not the pixels of CIFAR.

    train_per_class: training images of each class.
    test_per_class: test images of each class.
    verify: whether each file must have the published digest. Tests switch it off for miniatures.
    """

    editions: ClassVar[tuple[Edition, ...]]
    torchvision: ClassVar[str]
    jpeg: ClassVar[str]

    train_per_class: int
    test_per_class: int
    verify: bool = True

    def files(self, root: Path) -> list[Path]:
        """Return the files of the first complete folder of an edition, or else its first archive.

        A folder is root/NAME, or the unpacked archive in root or in root/NAME.
        An archive lies in root or in root/NAME.
        Without an edition, return the PNG images in root/NAME/SPLIT/CLASS, or an archive NAME of these.
        Raise DataAbsentError if there is none.
        """
        copy = self._locate(root)
        return copy.files() if isinstance(copy, ClassFolders) else copy[1]

    def fetch(self, root: Path) -> None:
        """Download the files to root with torchvision, unless they are on this machine already.

        Raise DataAbsentError if the download fails, whatever the reason.
        """
        try:
            self.files(root)
        except DataAbsentError:
            self._download(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, 32, 32], and labels, int64 [n], of "train" or "test".

        The images of an edition are in the order of its files, as in torchvision. Those of folders are in
        the order of classes, then of file names.
        Raise PrunebenchError if a file is damaged or is not the published one.
        Raise PrunebenchError if images are missing.
        """
        per_class = self.train_per_class if split == "train" else self.test_per_class
        copy = self._locate(root)
        if isinstance(copy, ClassFolders):
            return copy.load(split, self.resolution, per_class)
        edition, files = copy
        digests = edition.train if split == "train" else edition.test
        contents = _read(files, (*digests, edition.meta))
        # An archive is shown like a folder in messages: cifar-10-python.tar.gz/data_batch_1.
        top = files[0] if len(files) == 1 else files[0].parent
        if self.verify:
            for name, digest in digests.items():
                check_digest(contents[name], digest, f"{top / name}")
        self._check_classes(edition, contents[edition.meta], f"{top / edition.meta}")
        image_parts, label_parts = [], []
        for name in digests:
            images, labels = self._parse(edition, contents[name], f"{top / name}")
            image_parts.append(images)
            label_parts.append(labels)
        all_labels = np.concatenate(label_parts)
        check_sizes(all_labels, self.classes, per_class, f"{top} ({', '.join(digests)})")
        return np.concatenate(image_parts).reshape(-1, 3, 32, 32), all_labels

    def names(self, root: Path) -> tuple[str, ...]:
        """Return CLASS/FILE of each training image in a folder of classes. Images of an edition have none."""
        copy = self._locate(root)
        return copy.names() if isinstance(copy, ClassFolders) else ()

    def _locate(self, root: Path) -> tuple[Edition, list[Path]] | ClassFolders:
        """Return the edition on this machine and its files or its one archive, or else folders of classes."""
        partial = ""  # the first folder that has some files, for the message
        for edition, folder in self._folders(root):
            missing = [name for name in edition.names if not (folder / name).is_file()]
            if not missing:
                return edition, [folder / name for name in edition.names]
            if len(missing) < len(edition.names) and not partial:
                partial = f" ({folder} has no {', '.join(missing)})"
        for edition in self.editions:
            for folder in (root / self.name, root):
                for archive in edition.archives:
                    if (folder / archive).is_file():
                        return edition, [folder / archive]
        if path := located(root, (self.name,)):
            return ClassFolders(path=path, classes=self.classes, kind="PNG", otherwise=self.jpeg)
        raise self._absent(root, partial)

    def _folders(self, root: Path) -> Iterator[tuple[Edition, Path]]:
        for edition in self.editions:
            named = root / self.name
            # Some tools unpack into a folder called like the archive.
            nested = root / edition.archives[0].partition(".")[0]
            yield edition, named
            yield edition, named / edition.folder
            yield edition, root / edition.folder
            yield edition, nested
            yield edition, nested / edition.folder

    def _check_classes(self, edition: Edition, content: bytes, source: str) -> None:
        if edition.key:
            names = _unpickle(content, source).get(edition.key)
        else:
            names = content.decode("latin1").split()
        if not isinstance(names, list) or tuple(map(text, names)) != self.classes:
            raise PrunebenchError(f"{source} does not name the classes of {self.name}. Get it again.")

    def _parse(self, edition: Edition, content: bytes, source: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3072], and labels, int64 [n], of one file."""
        if isinstance(edition.labels, int):
            images, labels = _parse_rows(content, edition.labels, source)
        else:
            images, labels = _parse_batch(_unpickle(content, source), edition.labels, source)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise _damaged(source, f"its labels are not in 0..{len(self.classes) - 1}")
        return images, labels

    def _download(self, root: Path) -> None:
        from torchvision import datasets

        try:
            getattr(datasets, self.torchvision)(str(root), download=True)
        except Exception as error:  # no network, a full disk, a server that is down: the remedy is the same
            raise self._absent(root, f" (download failed: {' '.join(str(error).split())})") from None
        self.files(root)

    def _absent(self, root: Path, reason: str) -> DataAbsentError:
        archives = ", ".join(edition.archives[0] for edition in self.editions)
        return DataAbsentError(
            f"{self.name} is not on this machine{reason}: put {archives}, or a folder {self.name} with "
            f"train/CLASS/*.png and test/CLASS/*.png, packed or unpacked, into {root}; the archives are "
            f"at {HOME}"
        )


@dataclass(frozen=True, kw_only=True)
class Cifar10(Cifar):
    """50,000 training and 10,000 test images, color, 32 x 32 pixels, ten classes of equal size.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    editions: ClassVar[tuple[Edition, ...]] = (
        # The digests that torchvision checks.
        Edition(
            folder="cifar-10-batches-py",
            archives=("cifar-10-python.tar.gz", "cifar-10-python.tar"),
            train={
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            },
            test={"test_batch": "40351d587109b95175f43aff81a1287e"},
            meta="batches.meta",
            key="label_names",
            labels="labels",
        ),
        # The digests that torchvision for Ruby checks.
        Edition(
            folder="cifar-10-batches-bin",
            archives=("cifar-10-binary.tar.gz", "cifar-10-binary.tar"),
            train={
                "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            },
            test={"test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
            meta="batches.meta.txt",
            key="",
            labels=0,
        ),
    )

    torchvision: ClassVar[str] = "CIFAR10"
    jpeg: ClassVar[str] = "JPEG images are the dataset cifar10_jpeg, in a folder of that name"
    # Of the training split, as in the code of ELFS.
    info: ClassVar[DatasetInfo] = DatasetInfo(
        resolution=32, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
    )

    name: str = "cifar10"
    train_per_class: int = 5000
    test_per_class: int = 1000

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the published files."""
        return class_names("cifar10")


@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar):
    """50,000 training and 10,000 test images, color, 32 x 32 pixels, a hundred classes of equal size.

    The labels are the fine ones.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    editions: ClassVar[tuple[Edition, ...]] = (
        Edition(
            folder="cifar-100-python",
            archives=("cifar-100-python.tar.gz", "cifar-100-python.tar"),
            train={"train": "16019d7e3df5f24257cddd939b257f8d"},
            test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
            meta="meta",
            key="fine_label_names",
            labels="fine_labels",
        ),
        Edition(
            folder="cifar-100-binary",
            archives=("cifar-100-binary.tar.gz", "cifar-100-binary.tar"),
            train={"train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
            test={"test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
            meta="fine_label_names.txt",
            key="",
            labels=1,  # after the coarse label
        ),
    )

    torchvision: ClassVar[str] = "CIFAR100"
    jpeg: ClassVar[str] = "JPEG images do not have the pixels of CIFAR-100, so get another copy"
    # Of the training split, as in the code of ELFS.
    info: ClassVar[DatasetInfo] = DatasetInfo(
        resolution=32, mean=(0.507, 0.487, 0.441), std=(0.267, 0.256, 0.276)
    )

    name: str = "cifar100"
    train_per_class: int = 500
    test_per_class: int = 100

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the published files."""
        return class_names("cifar100")


def _read(files: list[Path], names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of the named files. `files` are the files of a folder, or one archive."""
    if len(files) == 1:
        return read_tar(files[0], names)
    return {path.name: path.read_bytes() for path in files if path.name in names}


def _parse_rows(content: bytes, label: int, source: str) -> tuple[Array, Array]:
    """Return images and labels of a file of the binary edition.

    A row is one or two bytes of labels, then the pixels. The last label is at position `label`.
    """
    length = label + 1 + PIXELS
    if len(content) % length:
        raise _damaged(source, f"it has {len(content)} bytes, expected a multiple of {length}")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    return rows[:, label + 1 :], rows[:, label].astype(np.int64)


def _parse_batch(batch: Mapping[str, Any], key: str, source: str) -> tuple[Array, Array]:
    """Return images and labels of an unpickled file of the Python edition."""
    data = batch.get("data")
    labels = batch.get(key)
    if not isinstance(data, PickledArray) or not isinstance(labels, list):
        raise _damaged(source, f"it has no data and {key}, but {', '.join(map(repr, batch)) or 'nothing'}")
    if not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise _damaged(source, f"its {key} are not numbers in 0..255")
    if data.shape != (len(labels), PIXELS):
        raise _damaged(source, f"its data has shape {data.shape}, expected {(len(labels), PIXELS)}")
    return data.array(), np.array(labels, dtype=np.int64)


def _unpickle(content: bytes, source: str) -> dict[str, Any]:
    try:
        return unpickle(content)
    except ValueError as error:
        raise _damaged(source, str(error)) from None


def _damaged(source: str, reason: str) -> PrunebenchError:
    return PrunebenchError(f"{source} is not a whole file of CIFAR: {reason}. Delete it and get it again.")
