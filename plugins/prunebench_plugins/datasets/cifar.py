"""CIFAR-10 and CIFAR-100: small colour pictures of ten and of a hundred kinds of things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.parts.dataset import Dataset
from prunebench_plugins.datasets.class_names import CIFAR10, CIFAR100
from prunebench_plugins.datasets.io.copies import check_digest, check_sizes, read_tar
from prunebench_plugins.datasets.io.pickles import PickledArray, text, unpickle

PIXELS = 3 * 32 * 32
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class Edition:
    """One of the two forms in which the authors publish: pickles, or rows of bytes.

    folder: what the archive unpacks to. archives: its names. train, test: files with images, each with
    its digest, in hex. meta: the file with the names of the classes. key: under which these are in a
    pickle; for rows of bytes, "". labels: the key of the labels, or the byte of a row that is the label.
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
        """All files that are needed."""
        return *self.train, *self.test, self.meta


@dataclass(frozen=True, kw_only=True)
class Cifar(Dataset):
    """What CIFAR-10 and CIFAR-100 share: two editions, in folders or in the archives they came in.

    train_per_class and test_per_class: how many images each class has. verify: whether each file has to
    be the published one, byte for byte; a miniature is not. The defaults hold for the real datasets.
    """

    editions: ClassVar[tuple[Edition, ...]]
    torchvision: ClassVar[str]

    train_per_class: int
    test_per_class: int
    verify: bool = True

    @property
    def resolution(self) -> int:
        """32 pixels."""
        return 32

    def files(self, root: Path) -> list[Path]:
        """Return the files of the first folder that has them all, or else the first archive.

        The folders are root/NAME and root, and in them the folder to which an archive unpacks; the
        archives lie in root or root/NAME. Raise DataAbsentError where there is neither.
        """
        return self._found(root)[1]

    def fetch(self, root: Path) -> None:
        """Download the files to root with torchvision, unless they are on this machine already.

        Raise DataAbsentError where that fails, whatever the reason.
        """
        try:
            self.files(root)
        except DataAbsentError:
            self._download(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3, 32, 32], and labels, int64 [n], of "train" or "test".

        The order is that of the files, as in torchvision. Raise PrunebenchError where a file is damaged
        or is not the published one, or where images are missing.
        """
        edition, files = self._found(root)
        needed = edition.train if split == "train" else edition.test
        contents = _read(files, (*needed, edition.meta))
        place = files[0] if len(files) == 1 else files[0].parent
        if self.verify:
            for name, digest in needed.items():
                check_digest(contents[name], digest, f"{place / name}")
        self._check_classes(edition, contents[edition.meta], f"{place / edition.meta}")
        parts = [self._parsed(edition, contents[name], f"{place / name}") for name in needed]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        per_class = self.train_per_class if split == "train" else self.test_per_class
        check_sizes(labels, self.classes, per_class, f"{place} ({', '.join(needed)})")
        return images.reshape(-1, 3, 32, 32), labels

    def _found(self, root: Path) -> tuple[Edition, list[Path]]:
        """Return the edition that is there, and its files, or the one archive that holds them."""
        partial = ""
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
        raise self._absent(root, partial)

    def _folders(self, root: Path) -> Iterator[tuple[Edition, Path]]:
        for edition in self.editions:
            own = root / self.name
            # The archive, unpacked by a tool that makes a folder of the archive's name.
            nested = root / edition.archives[0].partition(".")[0]
            for folder in (own, own / edition.folder, root / edition.folder, nested, nested / edition.folder):
                yield edition, folder

    def _check_classes(self, edition: Edition, content: bytes, where: str) -> None:
        if edition.key:
            names = _unpickled(content, where).get(edition.key)
        else:
            names = content.decode("latin1").split()
        if not isinstance(names, list) or tuple(map(text, names)) != self.classes:
            raise PrunebenchError(f"{where} does not name the classes of {self.name}. Get it again.")

    def _parsed(self, edition: Edition, content: bytes, where: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, 3072], and labels, int64 [n], of one file."""
        if isinstance(edition.labels, int):
            images, labels = _rows(content, edition.labels, where)
        else:
            images, labels = _batch(_unpickled(content, where), edition.labels, where)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise _damaged(where, f"its labels are not in 0..{len(self.classes) - 1}")
        return images, labels

    def _download(self, root: Path) -> None:
        from torchvision import datasets

        try:
            getattr(datasets, self.torchvision)(str(root), download=True)
        except Exception as error:  # no network, a full disk, a server that is down: the remedy is the same
            raise self._absent(root, f" (download failed: {' '.join(str(error).split())})") from None
        self.files(root)

    def _absent(self, root: Path, reason: str) -> DataAbsentError:
        archives = " or ".join(edition.archives[0] for edition in self.editions)
        return DataAbsentError(
            f"{self.name} is not on this machine{reason}: put {archives}, packed or unpacked, into {root}; "
            f"it is at {HOME}"
        )


@dataclass(frozen=True, kw_only=True)
class Cifar10(Cifar):
    """50,000 training and 10,000 test images, colour, 32 x 32 pixels, ten classes of equal size.

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

    name: str = "cifar10"
    train_per_class: int = 5000
    test_per_class: int = 1000

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that the files give."""
        return CIFAR10

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training split, as ELFS' code has it."""
        return 0.4914, 0.4822, 0.4465

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training split, as ELFS' code has it."""
        return 0.2470, 0.2435, 0.2616


@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar):
    """50,000 training and 10,000 test images, colour, 32 x 32 pixels, a hundred classes of equal size.

    The labels are the fine ones. Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny
    Images, 2009.
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

    name: str = "cifar100"
    train_per_class: int = 500
    test_per_class: int = 100

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that the files give."""
        return CIFAR100

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training split, as ELFS' code has it."""
        return 0.507, 0.487, 0.441

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training split, as ELFS' code has it."""
        return 0.267, 0.256, 0.276


def _read(files: list[Path], names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of the named files: of those in a folder, or of those in the one archive."""
    if len(files) == 1:
        return read_tar(files[0], names)
    return {path.name: path.read_bytes() for path in files if path.name in names}


def _rows(content: bytes, label: int, where: str) -> tuple[Array, Array]:
    """Cut rows of bytes: the labels, of which that at place `label` counts and is the last; the pixels."""
    length = label + 1 + PIXELS
    if len(content) % length:
        raise _damaged(where, f"it has {len(content)} bytes, expected a multiple of {length}")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    return rows[:, label + 1 :], rows[:, label].astype(np.int64)


def _batch(batch: Mapping[str, Any], key: str, where: str) -> tuple[Array, Array]:
    """Return images and labels of an unpickled file."""
    data, labels = batch.get("data"), batch.get(key)
    if not isinstance(data, PickledArray) or not isinstance(labels, list):
        raise _damaged(where, f"it has no data and {key}, but {', '.join(map(repr, batch)) or 'nothing'}")
    if not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise _damaged(where, f"its {key} are not numbers in 0..255")
    if data.shape != (len(labels), PIXELS):
        raise _damaged(where, f"its data has shape {data.shape}, expected {(len(labels), PIXELS)}")
    return data.array(), np.array(labels, dtype=np.int64)


def _unpickled(content: bytes, where: str) -> dict[str, Any]:
    try:
        return unpickle(content)
    except ValueError as error:
        raise _damaged(where, str(error)) from None


def _damaged(where: str, reason: str) -> PrunebenchError:
    return PrunebenchError(f"{where} is not a whole file of CIFAR: {reason}. Delete it and get it again.")
