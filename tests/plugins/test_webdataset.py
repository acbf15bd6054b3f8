"""Tar files of WebDataset as a dataset: which files are read, in which order, and what is refused."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError
from prunebench.parts.dataset_conformance import conform
from prunebench.parts.registry import load
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets.io import decoding
from prunebench_plugins.datasets.io.shards import _split_of
from prunebench_plugins.datasets.webdataset import WebDataset
from tests.messages import line


def png(shade, side=12):
    file = io.BytesIO()
    Image.new("RGB", (side, side), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def pack(path, files, **more):
    """Write a tar file of (name, content) pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **more) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def samples(first, count, label=lambda i: str(i % 3), ending="cls"):
    """Return the files of samples, each of which shows its number."""
    return [
        pair
        for i in range(first, first + count)
        for pair in ((f"{i:03d}.png", png(i)), (f"{i:03d}.{ending}", label(i).encode()))
    ]


@pytest.fixture
def top(tmp_path):
    """Two shards of 6 images to train on, one of 3 to test on. Image i shows i, its class is i % 3."""
    pack(tmp_path / "shards/train-00001.tar", samples(6, 6))
    pack(tmp_path / "shards/train-00000.tar", samples(0, 6))
    pack(tmp_path / "shards/test-00000.tar", samples(12, 3))
    return tmp_path / "shards"


@pytest.fixture
def dataset(top):
    return WebDataset(path=str(top), side=8)


def shades(images):
    return images[:, 0, 4, 4].tolist()


# What is read


def test_images_are_in_the_order_of_the_shards(dataset, tmp_path):
    images, labels = dataset.load(tmp_path, "train")
    assert (images.shape, images.dtype, labels.dtype) == ((12, 3, 8, 8), np.uint8, np.int64)
    assert shades(images) == [*range(12)]
    assert labels.tolist() == [0, 1, 2] * 4
    assert dataset.classes == ("0", "1", "2")
    names = dataset.names(tmp_path)
    assert names[0] == "train-00000.tar/000.png" and names[-1] == "train-00001.tar/011.png"
    assert shades(dataset.load(tmp_path, "test")[0]) == [12, 13, 14]


def test_it_keeps_the_contract_of_datasets(dataset, tmp_path):
    conform(dataset, tmp_path)


def test_a_path_makes_one(top, tmp_path, store):
    dataset = load().dataset(f"webdataset:{top}@8")
    assert dataset.name.startswith("webdataset-shards-8-") and "folder" in dataset.lineage
    key = dataset_key(dataset, tmp_path, store)
    pack(top / "train-00001.tar", samples(7, 6))
    changed = dataset_key(dataset, tmp_path, store)
    (top / "classnames.txt").write_text("owl\ncat\ndog\n")
    assert len({key, changed, dataset_key(dataset, tmp_path, store)}) == 3


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_the_library_yields_the_same_in_the_same_order(dataset, top, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in dataset.shards("train")]
    read = [
        (f"{sample['__key__']}.png", int(sample["cls"]), sample["png"])
        for sample in webdataset.WebDataset(urls, shardshuffle=False)
    ]
    rows = dataset.rows("train")
    assert [name.rpartition("/")[2] for name in rows.names] == [name for name, _, _ in read]
    assert dataset.load(tmp_path, "train")[1].tolist() == [label for _, label, _ in read]
    assert [rows.tree.read(name) for name in rows.tree.names] == [content for _, _, content in read]
    gc.collect()


@pytest.mark.parametrize("cache", [True, False])
def test_large_sets_are_decoded_once_into_the_data_folder(top, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(decoding, "SMALL", 0)
    dataset = WebDataset(path=str(top), side=8, cache=cache)
    for _ in range(2):
        images, _ = dataset.load(tmp_path / "data", "train")
        assert shades(np.asarray(images)) == [*range(12)]
    assert len([*(tmp_path / "data/decoded").glob("*/facts.json")]) == 1
    assert len([*(tmp_path / "data/decoded").glob("*/pixels")]) == 1


def test_labels_may_be_text_or_in_json(top, dataset, tmp_path):
    words = ("owl", "cat", "dog")
    pack(top / "train-00000.tar", samples(0, 6, lambda i: f" {words[i % 3]}\n"))
    as_json = samples(6, 6, lambda i: json.dumps({"label": words[i % 3], "width": 8}), "json")
    pack(top / "train-00001.tar", as_json)
    pack(top / "test-00000.tar", samples(12, 3, lambda i: words[i % 3]))
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.load(tmp_path, "train")[1].tolist() == [2, 0, 1] * 4
    assert dataset.load(tmp_path, "test")[1].tolist() == [2, 0, 1]


def test_cls_counts_before_json(top, dataset, tmp_path):
    both = [
        ("a.png", png(1)),
        ("a.json", b'{"label": 1}'),
        ("a.cls", b"0"),
        ("b.png", png(2)),
        ("b.cls", b"1"),
    ]
    pack(top / "train-00000.tar", both)
    assert dataset.load(tmp_path, "train")[1].tolist()[:2] == [0, 1]


def test_a_list_beside_the_shards_names_the_classes(top, dataset, tmp_path):
    (top / "classnames.txt").write_text("owl\ncat\n3\nnewt\n", encoding="utf-8")
    assert dataset.classes == ("owl", "cat", "3", "newt")
    assert dataset.load(tmp_path, "train")[1].tolist() == [0, 1, 2] * 4
    (top / "classnames.txt").write_text("owl\ncat\nowl\n")
    assert "has a class twice" in line(lambda: dataset.classes)


def test_files_beside_the_samples_and_what_other_programs_leave_are_passed_over(top, dataset, tmp_path):
    more = [("README.txt", b"?"), ("__MACOSX/._000.png", b"?"), ("._000.png", b"?"), ("LICENSE", b"?")]
    pack(top / "train-00000.tar", [*more, *samples(0, 6)])
    (top / ".cache").mkdir()
    pack(top / ".cache/train-00000.tar", samples(0, 6))
    (top / "train-folder.tar").mkdir()
    assert len(dataset.load(tmp_path, "train")[1]) == 12


def test_images_that_cannot_be_read_fail_or_are_skipped(top, tmp_path):
    files = samples(0, 6)
    files[2] = ("001.png", b"no image")
    pack(top / "train-00000.tar", files)
    message = line(lambda: WebDataset(path=str(top), side=8).load(tmp_path, "train"))
    assert "1 of the 12 images in" in message and "train-00000.tar/001.png (no image" in message
    skipping = WebDataset(path=str(top), side=8, on_bad="skip")
    images, labels = skipping.load(tmp_path, "train")
    assert shades(images) == [0, *range(2, 12)] and labels.tolist() == [0, 2, *[0, 1, 2] * 3]
    assert len(skipping.names(tmp_path)) == 11


# Splits


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.tar", "train"),
        ("imagenet1k-train-0000.tar", "train"),
        ("imagenet1k-validation-00.tar", "validation"),
        ("train/0.tar", "train"),
        ("test/part_0.tar", "test"),
        ("data/Val_7.tar", "validation"),
        ("train/eval.tar", "test"),
        ("retrained-0.tar", None),
        ("extra-00000.tar", None),
    ],
)
def test_a_word_in_the_name_says_the_split(tmp_path, name, split):
    assert _split_of((tmp_path / name).relative_to(tmp_path)) == split


def test_validation_shards_test_only_where_there_are_no_others(top, dataset, tmp_path):
    pack(top / "val/0.tar", samples(20, 3))
    assert shades(dataset.load(tmp_path, "test")[0]) == [12, 13, 14]
    (top / "test-00000.tar").unlink()
    assert shades(dataset.load(tmp_path, "test")[0]) == [20, 21, 22]


def test_a_missing_folder_or_split_is_one_line(top, dataset, tmp_path):
    (top / "test-00000.tar").unlink()
    message = line(lambda: dataset.files(tmp_path), DataAbsentError)
    assert message == (
        f"{top} has no *.tar of the test split; expected test in its name, or a folder test/ around it"
    )
    absent = WebDataset(path=str(tmp_path / "gone"), side=8)
    assert line(lambda: absent.files(tmp_path), DataAbsentError) == f"there is no folder {tmp_path}/gone"


def test_no_data_is_kept_among_the_shards(top, dataset):
    assert "which is never written to" in line(lambda: dataset.load(top / "data", "train"))


# What is refused


def linked(path):
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("000.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(member)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([*samples(0, 2), ("002.png", png(1))], "no label of the sample '002': expected 002.cls or 002.json"),
        ([*samples(0, 2), ("002.cls", b"1")], "has no images of the sample '002', expected one"),
        ([*samples(0, 2), ("001.jpg", png(1))], "has 2 images of the sample '001', expected one"),
        ([*samples(0, 2), ("001.png", png(1))], "holds '001.png' twice; pack it anew, with unique keys"),
        ([*samples(0, 2), *samples(1, 1)], "holds '001.png' twice"),
        ([("a.png", png(1)), ("a.cls", b"")], "holds b'' in a.cls, expected a class"),
        ([("a.png", png(1)), ("a.cls", b"owl\ncat")], "holds b'owl\\ncat' in a.cls, expected a class"),
        ([("a.png", png(1)), ("a.cls", b"\xff")], "holds b'\\xff' in a.cls, expected a class"),
        ([("a.png", png(1)), ("a.json", b'{"class": 1}')], 'expected an object with a class as "label"'),
        ([("a.png", png(1)), ("a.json", b'{"label": true}')], 'expected an object with a class as "label"'),
        ([("a.png", png(1)), ("a.json", b"[" * 99_999)], 'expected an object with a class as "label"'),
        ([("a.txt", b"1")], "holds no images (.avif"),
        ([], "holds no images (.avif"),
    ],
)
def test_a_shard_with_something_wrong_is_one_line(top, dataset, tmp_path, files, message):
    pack(top / "train-00000.tar", files)
    told = line(lambda: dataset.load(tmp_path, "train"))
    assert str(top / "train-00000.tar") in told and message in told


def test_a_link_in_a_shard_is_not_followed(top, dataset, tmp_path):
    linked(top / "train-00000.tar")
    assert "holds '000.png', which is no plain file" in line(lambda: dataset.load(tmp_path, "train"))


@pytest.mark.parametrize(
    "broken",
    [
        lambda content: content[:1000],
        lambda content: b"<html>404</html>" * 100,
        lambda content: content[:512] + b"\xff" * 5000,
        gzip.compress,
        lambda content: b"",
    ],
    ids=["cut", "page", "garbled", "compressed", "empty"],
)
def test_a_shard_that_is_no_whole_tar_file_is_one_line(top, dataset, tmp_path, broken):
    path = top / "train-00000.tar"
    path.write_bytes(broken(path.read_bytes()))
    assert line(lambda: dataset.load(tmp_path, "train")).startswith(f"{path} ")


@pytest.mark.parametrize("label", ["3", "-1", "owl", "1.5", "99999999999999999999"])
def test_a_label_of_a_test_image_that_is_no_class_is_one_line(top, dataset, tmp_path, label):
    pack(top / "test-00000.tar", [*samples(12, 1), *samples(13, 1, lambda _: label)])
    assert line(lambda: dataset.load(tmp_path, "test")) == (
        f"{top}: image 1 of the test split has the label {label!r}, which is none of the 3 classes: 0, 1, 2"
    )


def test_a_number_far_beyond_the_images_is_no_class(top, dataset):
    pack(top / "train-00000.tar", samples(0, 2, lambda _: "123456789"))
    assert "has the label 123456789, but only 8 images to train on" in line(lambda: dataset.classes)


def test_a_changed_shard_is_read_again(top, dataset, tmp_path):
    assert shades(dataset.load(tmp_path, "train")[0])[0] == 0
    pack(top / "train-00000.tar", samples(100, 6))
    os.utime(top / "train-00000.tar", ns=(1, 1))
    assert shades(dataset.load(tmp_path, "train")[0])[0] == 100
