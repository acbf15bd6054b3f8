"""The built-in datasets on toy files, and on the real ones where this machine has them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench.pipeline import dataset_keys
from prunebench.pipeline.dataset_keys import _content_hash, dataset_key
from prunebench_plugins.datasets import fashion_mnist, register_datasets
from prunebench_plugins.datasets.digits import Digits
from prunebench_plugins.datasets.fashion_mnist import FILES, FashionMnist
from prunebench_plugins.datasets.folder import Folder
from prunebench_plugins.datasets.io.decoding import Undecoded
from prunebench_plugins.datasets.io.idx import read_idx
from prunebench_plugins.datasets.views.corrupted import Corrupted
from prunebench_plugins.datasets.views.long_tailed import LongTailed, long_tail
from prunebench_plugins.datasets.views.reduced import Reduced, average_blocks
from prunebench_plugins.datasets.views.reordered import Reordered

ABSENT = Path("/nowhere")
VALUES = {d.name: d for d in register_datasets() if isinstance(d, Dataset)}


@dataclass(frozen=True, kw_only=True)
class Numbered(Dataset):
    """`per_class` images of each of `count` classes, class after class; image i shows i % 256 throughout."""

    name: str = "numbered"
    per_class: int
    count: int
    side: int = 2

    @property
    def classes(self):
        return tuple(map(str, range(self.count)))

    @property
    def info(self):
        return DatasetInfo(resolution=self.side, mean=(0.5,), std=(0.25,))

    def load(self, root, split):
        labels = np.repeat(np.arange(self.count), self.per_class)
        numbers = (np.arange(len(labels)) % 256).astype(np.uint8)
        return numbers[:, None, None, None] * np.ones((1, 1, self.side, self.side), np.uint8), labels


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion_mnist(folder, suffix="", shade=7):
    for name, n in zip(FILES, (3, 3, 2, 2), strict=True):
        array = np.full((n, 28, 28), shade) if "images" in name else np.arange(n)
        write_idx(folder / f"{name}{suffix}", array)


def write_image(path, size=(4, 4), color=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_registered():
    assert register_datasets()[0] is Folder
    assert list(VALUES) == [
        base + view
        for base in ("digits", "fashion_mnist", "fashion_mnist_small")
        for view in ("", "_lt", "_c", "_c_fixed")
    ] + [
        *("digits_by_class", "digits_shuffled"),
        *("fashion_mnist_tiny", "fashion_mnist_tiny_by_class", "fashion_mnist_tiny_shuffled"),
        *(
            "cifar10",
            "cifar10_jpeg",
            "cifar10_small",
            "cifar100",
            "cifar100_lt",
            "cifar100_lt_001",
            "cifar100_c",
            "cifar100_c_fixed",
        ),
        *("tiny_imagenet", "tiny_imagenet_c", "tiny_imagenet_c_fixed"),
        *("food101", "sun397", "sun397_seeded", "caltech101", "imagenet1k"),
    ]


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "fashion_mnist_small"])
def test_real_images(name):
    """Sizes, and that the constants for mean and deviation are those of the training split."""
    dataset, n = (
        VALUES[name],
        {"digits": (1347, 450), "fashion_mnist": (60_000, 10_000)}.get(name, (10_000,) * 2),
    )
    try:
        splits = [dataset.load(ABSENT, split) for split in ("train", "test")]
    except DataAbsentError as error:
        pytest.skip(str(error))
    for (images, labels), count in zip(splits, n, strict=True):
        assert images.shape == (count, 1, dataset.resolution, dataset.resolution)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert set(labels) == set(range(len(dataset.classes)))
    values = np.arange(256) / 255
    share = np.bincount(splits[0][0].ravel(), minlength=256) / splits[0][0].size
    mean = share @ values
    assert dataset.mean == (pytest.approx(mean, abs=5e-4),)
    assert dataset.std == (pytest.approx(np.sqrt(share @ (values - mean) ** 2), abs=1e-4),)


def test_digits_are_those_of_scikit_learn_split_in_two():
    from sklearn.datasets import load_digits

    parts = [Digits().load(ABSENT, split) for split in ("train", "test")]
    assert [len(labels) for _, labels in parts] == [1347, 450]
    ours = np.concatenate([np.column_stack([labels, images.reshape(-1, 64)]) for images, labels in parts])
    bunch = load_digits()
    theirs = np.column_stack([bunch.target, np.rint(bunch.data * 255 / 16)])
    np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))


def test_digits_split_is_stratified():
    train, test = (np.bincount(Digits().load(ABSENT, split)[1]) for split in ("train", "test"))
    assert np.abs(train - 0.7496 * (train + test)).max() < 1


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_reads_plain_and_gzipped_files(tmp_path, suffix):
    write_fashion_mnist(tmp_path / "fashion_mnist", suffix)
    images, labels = FashionMnist().load(tmp_path, "train")
    assert images.shape == (3, 1, 28, 28) and (images == 7).all()
    assert labels.tolist() == [0, 1, 2]
    assert FashionMnist().load(tmp_path, "test")[1].tolist() == [0, 1]


def test_fashion_mnist_is_looked_for_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    for folder in ("debian", "FashionMNIST/raw", "fashion_mnist"):
        write_fashion_mnist(tmp_path / folder)
        assert {path.parent for path in FashionMnist().files(tmp_path)} == {tmp_path / folder}
    (tmp_path / "fashion_mnist" / FILES[3]).unlink()  # a folder must have all four
    assert FashionMnist().files(tmp_path)[0].parent == tmp_path / "FashionMNIST/raw"


def offline(*_args, **_keywords):
    raise RuntimeError("Error downloading\ntrain-images")


def test_fashion_mnist_absent_says_what_to_do(tmp_path, monkeypatch):
    torchvision = SimpleNamespace(FashionMNIST=offline)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=torchvision))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", torchvision)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    folder = tmp_path / "fashion_mnist"
    remedy = f"put {', '.join(FILES)} (.gz or not) into {folder}, or apt install dataset-fashion-mnist"
    with pytest.raises(DataAbsentError) as absent:
        FashionMnist().files(tmp_path)
    assert str(absent.value) == f"fashion_mnist is not on this machine: {remedy}"
    with pytest.raises(DataAbsentError) as failed:
        FashionMnist().fetch(tmp_path)
    reason = "download failed: Error downloading train-images"
    assert str(failed.value) == f"fashion_mnist is not on this machine ({reason}): {remedy}"
    write_fashion_mnist(tmp_path / "fashion_mnist")
    FashionMnist().fetch(tmp_path)  # nothing to download, so the failing download is not tried


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"<!DOCTYPE html><html>404</html>", "it begins with b'<!DOCTYPE html><'"),
        (bytes([0, 0, 8, 1, 0]), r"it begins with b'\x00\x00\x08\x01\x00'"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 0]), r"it begins with b'\x00\x00\r\x01\x00\x00\x00\x00'"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]), "it has 9 bytes, but its header (9,) asks for 17"),
        (gzip.compress(bytes(99))[:-9], "Compressed file ended before the end-of-stream marker was reached"),
    ],
    ids=["html", "short header", "floats", "cut short", "gzip cut short"],
)
def test_damaged_idx_file(tmp_path, content, reason):
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(PrunebenchError) as error:
        read_idx(path, 1)
    assert str(error.value) == f"{path} is not a whole IDX file: {reason}. Delete it and get it again."


def test_fashion_mnist_with_files_of_different_lengths(tmp_path):
    write_fashion_mnist(tmp_path / "fashion_mnist")
    write_idx(tmp_path / "fashion_mnist" / FILES[1], np.arange(5))
    with pytest.raises(PrunebenchError, match=r"3 images in .* but 5 labels in .*: get both again"):
        FashionMnist().load(tmp_path, "train")


def test_reduced_averages_both_splits_and_thins_the_training_split_only():
    base = Numbered(per_class=20, count=3, side=4)
    reduced = Reduced(name="r", base=base, images=9, side=2, deviation=(0.2,))
    images, labels = reduced.load(ABSENT, "train")
    assert (images.shape, labels.tolist()) == ((9, 1, 2, 2), [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert (np.diff(images[:, 0, 0, 0].astype(int)) > 0).all()  # the order of the base
    assert reduced.load(ABSENT, "test")[0].shape == (60, 1, 2, 2)
    assert (reduced.resolution, reduced.mean, reduced.std) == (2, (0.5,), (0.2,))


def test_blocks_are_averaged_and_rounded_half_up():
    image = np.array([[0, 1, 9, 9], [1, 0, 9, 9], [255, 255, 0, 0], [255, 255, 0, 1]], dtype=np.uint8)
    assert average_blocks(image[None, None], 2).tolist() == [[[[1, 9], [255, 0]]]]


def test_reduced_needs_a_larger_base():
    view = Reduced(name="r", base=Numbered(per_class=2, count=3), images=7, side=2, deviation=(1.0,))
    with pytest.raises(PrunebenchError, match=r"r\.images is 7, expected at most the 6 of numbered"):
        view.load(ABSENT, "train")


def test_reduced_needs_whole_blocks():
    with pytest.raises(PrunebenchError, match=r"r\.side is 3, expected a divisor of 4"):
        Reduced(name="r", base=Numbered(per_class=1, count=1, side=4), images=1, side=3, deviation=(1.0,))


def test_reordered_has_the_same_images_in_another_order():
    base = LongTailed(name="lt", base=Numbered(per_class=20, count=3), factor=0.5)
    shuffled = Reordered(name="s", base=base, order="random")
    images, labels = shuffled.load(ABSENT, "train")
    assert sorted(images[:, 0, 0, 0]) == sorted(base.load(ABSENT, "train")[0][:, 0, 0, 0])
    assert (labels == images[:, 0, 0, 0] // 20).all() and (np.diff(labels) < 0).any()
    _, sorted_labels = Reordered(name="c", base=shuffled, order="class").load(ABSENT, "train")
    assert (np.diff(sorted_labels) >= 0).all() and len(sorted_labels) == len(labels)


def test_reordered_knows_two_orders():
    with pytest.raises(PrunebenchError, match=r"r\.order is 'size', expected 'class' or 'random'"):
        Reordered(name="r", base=Digits(), order="size")


@pytest.mark.parametrize("factor, total, last", [(0.1, 19_573, 50), (0.01, 10_847, 5)])
def test_long_tailed_cifar_100_has_the_published_size(factor, total, last):
    quotas = long_tail(np.full(100, 500), factor)
    assert (quotas.sum(), quotas[0], quotas[-1]) == (total, 500, last)
    images, labels = LongTailed(name="lt", base=Numbered(per_class=500, count=100), factor=factor).load(
        ABSENT, "train"
    )
    assert len(images) == total
    np.testing.assert_array_equal(np.bincount(labels), quotas)


def test_long_tail_follows_the_largest_class_and_takes_no_more_than_there_is():
    assert long_tail(np.array([30, 100, 100]), 0.25).tolist() == [30, 50, 25]


def test_long_tailed_keeps_the_order_of_the_base_and_the_whole_test_split():
    view = LongTailed(name="lt", base=Numbered(per_class=20, count=10), factor=0.1)
    shown = view.load(ABSENT, "train")[0][:, 0, 0, 0].astype(int)
    assert (np.diff(shown) > 0).all()
    assert len(view.load(ABSENT, "test")[0]) == 200


def test_a_longer_tail_is_part_of_a_shorter_one():
    base = Numbered(per_class=20, count=10)
    short, long = (LongTailed(name="lt", base=base, factor=f).load(ABSENT, "train")[0] for f in (0.5, 0.1))
    assert set(long[:, 0, 0, 0]) < set(short[:, 0, 0, 0])


@pytest.mark.parametrize("factor", [0.0, 1.5])
def test_long_tailed_factor_out_of_range(factor):
    with pytest.raises(PrunebenchError, match=r"lt\.factor is .*, expected above 0, at most 1"):
        LongTailed(name="lt", base=Digits(), factor=factor)


@pytest.mark.parametrize("view", ["digits_lt", "digits_c", "digits_c_fixed"])
def test_the_test_split_of_a_view_is_that_of_its_base(view):
    for ours, theirs in zip(VALUES[view].load(ABSENT, "test"), Digits().load(ABSENT, "test"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert VALUES[view].lineage == (view, "digits")


@pytest.fixture
def photos(tmp_path):
    for place in ("train/cat/b.png", "train/cat/a.JPG", "train/ant/c.png", "test/cat/d.png"):
        write_image(tmp_path / place)
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    write_image(tmp_path / "train/cat/._a.png")
    (tmp_path / "train/.cache").mkdir()
    return tmp_path


def test_folder_order_labels_and_names(photos):
    folder = Folder(name="folder-photos-2", path=str(photos), side=2)
    assert (folder.classes, folder.lineage[-1], folder.resolution) == (("ant", "cat"), "folder", 2)
    assert [str(path.relative_to(photos)) for path in folder.files(ABSENT)] == [
        "train/ant/c.png",
        "train/cat/a.JPG",
        "train/cat/b.png",
        "test/cat/d.png",
    ]
    images, labels = folder.load(ABSENT, "train")
    assert (images.shape, images.dtype, labels.tolist()) == ((3, 3, 2, 2), np.uint8, [0, 1, 1])
    assert images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert folder.load(ABSENT, "test")[1].tolist() == [1]
    assert folder.names(ABSENT) == ("ant/c.png", "cat/a.JPG", "cat/b.png")


def test_only_views_that_keep_all_images_have_the_names_of_their_base(photos):
    folder = Folder(path=str(photos), side=32)
    assert Corrupted(name="c", base=folder).names(ABSENT) == folder.names(ABSENT)
    assert LongTailed(name="lt", base=folder, factor=0.5).names(ABSENT) == ()
    assert Reduced(name="r", base=folder, images=2, side=16, deviation=(0.1,) * 3).names(ABSENT) == ()
    assert Digits().names(ABSENT) == ()


@pytest.mark.parametrize("target", ["nowhere.png", "c.png", "d.png"])
def test_a_link_that_leads_nowhere_or_round_in_circles_is_an_image_that_cannot_be_read(photos, store, target):
    """Passed over, it would be missing from the dataset without a word."""
    (photos / "train/ant/c.png").unlink()
    (photos / "train/ant/c.png").symlink_to(target)
    (photos / "train/ant/d.png").symlink_to("c.png")
    folder, data = Folder(path=str(photos), side=2), photos.parent / "data"
    with pytest.raises(PrunebenchError, match=r"2 of the 4 images .*: ant/c.png \((Too many|No such)"):
        dataset_key(folder, data, store)
    assert replace(folder, on_bad="skip").names(data) == ("cat/a.JPG", "cat/b.png")


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".ipynb_checkpoints"])
def test_what_other_programs_leave_is_no_class(photos, name):
    before = Folder(path=str(photos), side=2).files(ABSENT)
    write_image(photos / "train" / name / "a.png")
    assert Folder(path=str(photos), side=2).files(ABSENT) == before


def test_folder_keeps_the_middle_and_makes_gray_rgb(photos):
    """A strip of three 4 x 4 squares, dark, bright, dark, becomes the bright one."""
    strip = np.zeros((4, 12), np.uint8)
    strip[:, 4:8] = 200
    Image.fromarray(strip).save(photos / "test/cat/d.png")
    images, _ = Folder(path=str(photos), side=4).load(ABSENT, "test")
    assert images.tolist() == np.full((1, 3, 4, 4), 200).tolist()


def test_folder_errors(photos):
    def message():
        with pytest.raises(PrunebenchError) as error:
            Folder(path=str(photos), side=2).load(ABSENT, "train")
            Folder(path=str(photos), side=2).files(ABSENT)
        return str(error.value).replace(str(photos), "PHOTOS")

    remedy = "mend or remove them, or leave them out with --on-bad skip"
    (photos / "train/ant/c.png").write_bytes(b"<html>")
    assert message() == (
        "1 of the 3 images in PHOTOS/train cannot be read: "
        f"ant/c.png (no image, it begins with b'<html>'); {remedy}"
    )
    (photos / "train/cat/b.png").write_bytes((photos / "train/cat/b.png").read_bytes()[:50])
    assert message() == (
        "2 of the 3 images in PHOTOS/train cannot be read: "
        f"ant/c.png (no image, it begins with b'<html>'), cat/b.png (image file is truncated); {remedy}"
    )
    for path in photos.glob("train/*/*.*"):
        path.unlink()
    assert message().startswith("the folders in PHOTOS/train hold no images (.avif, .bmp, .gif, ")
    write_image(photos / "train/cat/a.png")
    write_image(photos / "test/dog/a.png")
    assert message() == "PHOTOS/test has a class 'dog' that train/ lacks (1 such); train/ has: ant, cat"


def test_a_folder_may_leave_out_what_cannot_be_read(photos, store):
    """Labels and names follow the images that are left, and the content is another."""
    whole = Folder(path=str(photos), side=2)
    before = dataset_key(whole, photos.parent / "data", store)
    (photos / "train/ant/c.png").write_bytes(b"")
    folder = replace(whole, on_bad="skip")
    images, labels = folder.load(ABSENT, "train")
    assert (len(images), labels.tolist()) == (2, [1, 1])
    assert folder.names(ABSENT) == ("cat/a.JPG", "cat/b.png")
    assert dataset_key(folder, photos.parent / "data", store) not in (before, "absent:folder")
    with pytest.raises(PrunebenchError, match=r"folder\.on_bad is 'ask', expected 'fail' or 'skip'"):
        replace(whole, on_bad="ask")


def test_a_folder_without_a_cache_is_the_same_dataset(photos, store, monkeypatch):
    monkeypatch.setattr(dataset_keys, "TOGETHER", 2)
    write_image(photos / "train/ant/a.png", color=(90, 0, 0))
    kept = Folder(path=str(photos), side=2)
    lazy = replace(kept, cache=False)
    assert isinstance(lazy.load(ABSENT, "train")[0], Undecoded)
    keys = [dataset_key(folder, photos.parent / "data", store) for folder in (kept, lazy)]
    assert keys[0] == keys[1]
    monkeypatch.setattr(dataset_keys, "TOGETHER", 1000)
    assert _content_hash(kept, photos.parent / "data") == keys[0]


def test_photos_are_never_written_to(photos):
    """The data folder, where decoded photos go, may not be one of photos."""
    for root in (photos, photos / "train" / "cat"):
        with pytest.raises(PrunebenchError, match="is never written to; choose another --data"):
            Folder(path=str(photos), side=2).load(root, "train")


def test_folder_layout_errors(tmp_path):
    def message():
        with pytest.raises(DataAbsentError) as error:
            Folder(path=str(tmp_path / "photos"), side=2).files(ABSENT)
        return str(error.value).replace(str(tmp_path), "")

    layout = "expected train/CLASS/IMAGE and test/CLASS/IMAGE in it"
    assert message() == f"there is no folder /photos; {layout}"
    (tmp_path / "photos").mkdir()
    assert message() == f"the folder /photos has no train/; {layout}"
    (tmp_path / "photos/train").mkdir()
    assert message() == f"/photos/train has no folder per class; {layout}"
    write_image(tmp_path / "photos/train/cat/a.png")
    assert message() == f"the folder /photos has no test/; {layout}"


def test_registering_and_naming_loads_no_heavy_package():
    code = (
        "import sys; from prunebench_plugins.datasets import register_datasets; register_datasets()\n"
        "print({'torch', 'torchvision', 'sklearn', 'scipy', 'pandas', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
