"""CIFAR-10 as JPEG files, on a miniature in the layout of the public collections."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.suites.recipes import recipe_table
from prunebench_plugins.datasets.cifar import Cifar10
from prunebench_plugins.datasets.cifar10_jpeg import Cifar10Jpeg
from prunebench_plugins.datasets.class_names import class_names
from prunebench_plugins.datasets.views.reduced import Reduced

TINY = Cifar10Jpeg(train_per_class=3, test_per_class=2)


def jpeg(picture, kind="JPEG"):
    """The bytes of uint8 [h, w, 3]."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def published():
    """The files by name: three training and two test images of each class, each of one shade."""
    files = {}
    for split, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(class_names("cifar10")):
            for number in range(count):
                shade = np.full((32, 32, 3), 20 * label + 5 * number, np.uint8)
                files[f"{split}/{name}/{number:04}.jpg"] = jpeg(shade)
    return files


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pack(path, files, top="cifar10_jpeg/"):
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def check(root):
    for split, count in (("train", 3), ("test", 2)):
        images, labels = TINY.load(root, split)
        assert labels.tolist() == np.repeat(np.arange(10), count).tolist()
        assert images.dtype == np.uint8
        shades = 20 * labels + 5 * np.tile(np.arange(count), 10)
        np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), shades, atol=1)
    assert TINY.names(root)[:4] == tuple(
        f"{name}.jpg" for name in ("airplane/0000", "airplane/0001", "airplane/0002", "automobile/0000")
    )


@pytest.mark.parametrize(
    "folder", ["cifar10_jpeg", "cifar10_jpeg/cifar10_jpeg", "CIFAR-10-images", "CIFAR-10-images-master"]
)
def test_it_is_read_from_folders(tmp_path, published, folder):
    write(
        tmp_path / folder, published | {"train/.DS_Store": b"", "train/cat/Thumbs.db": b"", "README.md": b""}
    )
    check(tmp_path)
    assert len([path for path in TINY.files(tmp_path) if path.suffix == ".jpg"]) == 50


@pytest.mark.parametrize("archive", ["cifar10_jpeg.tar.xz", "cifar10_jpeg.tar.gz", "CIFAR-10-images.tar"])
@pytest.mark.parametrize("top", ["", "cifar10_jpeg/", "./cifar10_jpeg/"])
def test_it_is_read_from_an_archive(tmp_path, published, archive, top):
    pack(tmp_path / archive, published, top)
    check(tmp_path)
    assert TINY.files(tmp_path) == [tmp_path / archive]


def test_it_says_where_to_put_it(tmp_path):
    with pytest.raises(DataAbsentError, match=r"cifar10_jpeg is not on this machine: put a folder.*tar\.xz"):
        TINY.files(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train/cat/0001.jpg": None}, "expected 3 of each of 10 classes; 1 differ, such as 'cat' with 2"),
        ({"train/zebra/0001.jpg": b""}, r"has 1 class\(es\) that the dataset does not have: zebra"),
        ({"train/dog/0000.jpg": jpeg(np.zeros((31, 32, 3), np.uint8))}, "32 x 31 pixels"),
        ({"train/dog/0000.jpg": jpeg(np.zeros((32, 32, 3), np.uint8), "PNG")}, "not readable"),
        ({"train/dog/0000.jpg": b"<html>"}, "dog/0000.jpg .not readable"),
        ({"train/dog/0000.png": b""}, r"1 image\(s\) in train that are not JPEG.*are the dataset cifar10, "),
    ],
)
def test_a_copy_that_is_not_whole_is_refused(tmp_path, published, changes, message):
    files = {name: content for name, content in (published | changes).items() if content is not None}
    write(tmp_path / "cifar10_jpeg", files)
    with pytest.raises(PrunebenchError, match=message):
        TINY.load(tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "is not a whole archive"),
        (b"\xfd7zXZ\x00 and no more", "is not a whole archive"),
        (b"", "is not a whole archive"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path, content, message):
    (tmp_path / "cifar10_jpeg.tar.xz").write_bytes(content)
    with pytest.raises(PrunebenchError, match=message):
        TINY.load(tmp_path, "train")


def test_an_archive_that_was_cut_short_is_refused(tmp_path, published):
    archive = tmp_path / "cifar10_jpeg.tar.xz"
    pack(archive, published)
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(PrunebenchError, match="is not a whole archive"):
        TINY.load(tmp_path, "test")


def test_an_archive_without_the_split_is_refused(tmp_path, published):
    pack(tmp_path / "cifar10_jpeg.tar", {name: c for name, c in published.items() if "train/" in name})
    with pytest.raises(PrunebenchError, match="holds no folder test"):
        TINY.load(tmp_path, "test")


def test_a_bomb_is_refused(tmp_path, published, monkeypatch):
    monkeypatch.setattr("prunebench_plugins.datasets.io.copies.LARGEST", 1000)
    pack(tmp_path / "cifar10_jpeg.tar", published)
    with pytest.raises(PrunebenchError, match="holds more than 1000 bytes in train"):
        TINY.load(tmp_path, "train")


def test_recipes_for_cifar10_hold_for_it():
    assert Cifar10Jpeg().lineage == ("cifar10_jpeg", "cifar10")
    assert Cifar10Jpeg().classes == Cifar10().classes
    assert "cifar10" in recipe_table()["short"]


def test_the_small_view_has_fewer_images_and_the_same_pixels(tmp_path, published):
    write(tmp_path / "cifar10_jpeg", published)
    small = Reduced(name="small", base=TINY, images=20, side=32, deviation=TINY.info.std)
    images, labels = small.load(tmp_path, "train")
    assert np.bincount(labels).tolist() == [2] * 10
    everything = {picture.tobytes() for picture in TINY.load(tmp_path, "train")[0]}
    assert len({picture.tobytes() for picture in images} & everything) == 20
    assert len(small.load(tmp_path, "test")[1]) == 20
