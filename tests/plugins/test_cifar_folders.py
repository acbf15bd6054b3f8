"""CIFAR as PNG files in one folder per class, on miniatures in the layout of fast.ai's archives."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets.cifar import Cifar10, Cifar100

TEN = Cifar10(train_per_class=3, test_per_class=2)
HUNDRED = Cifar100(train_per_class=2, test_per_class=1)
SIZES = {"cifar10": {"train": 3, "test": 2}, "cifar100": {"train": 2, "test": 1}}


def encoded(picture, kind="PNG"):
    """The bytes of uint8 [h, w, 3]."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def pixels(label, split, number):
    """The pixels of an image, uint8 [32, 32, 3]: noise, so that no other image and no lossy copy has them."""
    seed = [label, split == "test", number]
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def copy_of(dataset):
    """The files by name, in fast.ai's folders: those of CIFAR-100 have superclasses. One class is `train`."""
    files = {"labels.txt": "\n".join(dataset.classes).encode()}
    for split, count in SIZES[dataset.name].items():
        for label, name in enumerate(dataset.classes):
            folder = f"superclass_{label % 20}/{name}" if dataset is HUNDRED else name
            for number in range(count):
                file = f"{split}/{folder}/{number}_{name}.png"
                files[file] = encoded(pixels(label, split, number))
    return files


@pytest.fixture(scope="module")
def copies():
    return {dataset.name: copy_of(dataset) for dataset in (TEN, HUNDRED)}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pack(path, files, top):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
        return
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def check(dataset, root):
    """The pixels are those that were written, by class, then file name."""
    for split, count in SIZES[dataset.name].items():
        images, labels = dataset.load(root, split)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert labels.tolist() == np.repeat(np.arange(len(dataset.classes)), count).tolist()
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            np.testing.assert_array_equal(image, pixels(label, split, i % count).transpose(2, 0, 1))
    names = dataset.names(root)
    assert names[-1] == f"{dataset.classes[-1]}/{SIZES[dataset.name]['train'] - 1}_{dataset.classes[-1]}.png"
    assert len(set(names)) == len(dataset.classes) * SIZES[dataset.name]["train"]


def refusal(dataset, root, split="train"):
    with pytest.raises(PrunebenchError) as error:
        dataset.load(root, split)
    message = str(error.value)
    assert "\n" not in message
    return message


BOTH = pytest.mark.parametrize("dataset", [TEN, HUNDRED], ids=lambda dataset: dataset.name)


@BOTH
@pytest.mark.parametrize("inner", ["", "/same"])
def test_folders_of_png_are_read(tmp_path, copies, dataset, inner):
    folder = tmp_path / dataset.name
    clutter = {"train/.DS_Store": b"", "test/Thumbs.db": b"", "README.md": b"", "train/stray.png": b""}
    write(folder / dataset.name if inner else folder, copies[dataset.name] | clutter)
    check(dataset, tmp_path)


@BOTH
@pytest.mark.parametrize("ending", ["tgz", "tar.gz", "tar", "zip"])
def test_archives_of_them_are_read_in_place(tmp_path, copies, dataset, ending):
    archive = tmp_path / f"{dataset.name}.{ending}"
    pack(archive, copies[dataset.name], f"{dataset.name}/")
    check(dataset, tmp_path)
    assert dataset.files(tmp_path) == [archive]
    dataset.fetch(tmp_path)
    assert [*tmp_path.iterdir()] == [archive]


def test_packed_and_unpacked_have_one_key_of_their_own(tmp_path, copies, store):
    write(tmp_path / "a/cifar10", copies["cifar10"])
    for folder in "bc":
        (tmp_path / folder).mkdir()
    pack(tmp_path / "b/cifar10.tgz", copies["cifar10"], "cifar10/")
    renamed = {name.replace("0_cat", "9_cat"): content for name, content in copies["cifar10"].items()}
    pack(tmp_path / "c/cifar10.zip", renamed, "")
    keys = [dataset_key(TEN, tmp_path / folder, store) for folder in "abc"]
    assert keys[0] == keys[1] != keys[2]  # another order of the images is another content
    assert not keys[0].startswith("absent")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cat/0_cat.png": None},
            "ROOT/cifar10/train has 29 images, expected 3 of each of 10 classes; 1 differ",
        ),
        ({"cat/3_cat.png": b""}, "1 differ, such as 'cat' with 4. Get it again."),
        ({f"dog/{i}_dog.png": None for i in range(3)}, "1 differ, such as 'dog' with 0. Get it again."),
        (
            {"zebra/1.png": b"", "gnu/1.png": b""},
            "ROOT/cifar10/train has 2 class(es) that the dataset does not have: gnu, zebra. Remove them, or",
        ),
        (
            {"cat/0_cat.png": encoded(np.zeros((31, 32, 3), np.uint8))},
            "1 of the 30 images in ROOT/cifar10/train are not PNG images of 32 x 32 pixels: "
            "train/cat/0_cat.png (32 x 31 pixels)",
        ),
        (
            {"cat/0_cat.png": encoded(np.zeros((32, 32, 3), np.uint8), "JPEG")},
            "are not PNG images of 32 x 32 pixels: train/cat/0_cat.png (not readable)",
        ),
    ],
)
def test_a_copy_that_is_not_whole_is_refused(tmp_path, copies, changes, message):
    files = copies["cifar10"] | {f"train/{name}": content for name, content in changes.items()}
    write(tmp_path / "cifar10", {name: content for name, content in files.items() if content is not None})
    assert message.replace("ROOT", str(tmp_path)) in refusal(TEN, tmp_path)
    assert len(TEN.load(tmp_path, "test")[0]) == 20


@BOTH
def test_jpeg_files_are_refused(tmp_path, copies, dataset):
    """Their pixels are not those of CIFAR, whatever they are called."""
    lossy = {name.replace(".png", ".jpg"): content for name, content in copies[dataset.name].items()}
    write(tmp_path / dataset.name, lossy)
    remedy = {
        "cifar10": "JPEG images are the dataset cifar10_jpeg, in a folder of that name",
        "cifar100": "JPEG images do not have the pixels of CIFAR-100, so get another copy",
    }[dataset.name]
    count = len(dataset.classes) * SIZES[dataset.name]["test"]
    message = refusal(dataset, tmp_path, "test")
    assert message.startswith(
        f"{tmp_path / dataset.name} has {count} image(s) in test that are not PNG, such as "
    )
    assert message.endswith(f".jpg; {remedy}")


def test_a_superclass_is_no_class(tmp_path, copies):
    flat = {name.replace("/apple/", "/"): content for name, content in copies["cifar100"].items()}
    write(tmp_path / "cifar100", flat)
    assert "1 class(es) that the dataset does not have: superclass_0." in refusal(HUNDRED, tmp_path)


def test_half_a_copy_is_absent(tmp_path, copies):
    write(tmp_path / "cifar10", {name: c for name, c in copies["cifar10"].items() if "test/" not in name})
    with pytest.raises(DataAbsentError, match=r"a folder cifar10 with train/CLASS/\*.png and test"):
        TEN.files(tmp_path)


def test_an_edition_counts_before_folders(tmp_path, copies):
    """So that keys made from it stay, whatever is put beside it."""
    write(tmp_path / "cifar10", copies["cifar10"])
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    assert TEN.files(tmp_path) == [tmp_path / "cifar-10-python.tar.gz"]
