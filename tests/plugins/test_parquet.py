"""Parquet files of Hugging Face as a dataset: columns, classes, order, and what is refused."""

from __future__ import annotations

import gc
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from prunebench.parts.dataset_conformance import conform
from prunebench.parts.registry import load
from prunebench_plugins.datasets import parquet as module
from prunebench_plugins.datasets.io import decoding
from prunebench_plugins.datasets.parquet import Parquet
from tests.messages import line

NAMES = ("owl", "cat", "dog")


def png(shade, side=12):
    file = io.BytesIO()
    Image.new("RGB", (side, side), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def test_without_its_package_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    dataset = Parquet(path=str(tmp_path), side=8)
    assert line(lambda: dataset.classes).endswith(
        "train-0.parquet needs pyarrow: pip install 'prunebench[parquet]'"
    )


@pytest.fixture
def pa():
    pytest.importorskip("pyarrow.parquet")
    return pytest.importorskip("pyarrow")


@pytest.fixture
def write(pa, tmp_path):
    """write("train-0", image=[...], label=[...]) writes a file with these columns."""

    def written(name, features=None, rows=4, **columns):
        path = tmp_path / "shards" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns)
        if features is not None:
            metadata = (
                features if isinstance(features, bytes) else json.dumps({"info": {"features": features}})
            )
            table = table.replace_schema_metadata({"huggingface": metadata})
        pa.parquet.write_table(table, path, row_group_size=rows)
        return path

    return written


FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(NAMES)}}


def images(first, count, path="{}.png"):
    """Return the column of images that show their numbers."""
    return [{"bytes": png(i), "path": path.format(i)} for i in range(first, first + count)]


@pytest.fixture
def top(write, tmp_path):
    """Two files of 6 and 5 images to train on, one of 3 to test on. Image i shows i, its class is i % 3."""
    for name, first, count in (
        ("train-00001-of-00002", 6, 5),
        ("train-00000-of-00002", 0, 6),
        ("test-00000-of-00001", 11, 3),
    ):
        write(
            f"data/{name}",
            FEATURES,
            image=images(first, count),
            label=[i % 3 for i in range(first, first + count)],
        )
    return tmp_path / "shards"


@pytest.fixture
def dataset(top):
    return Parquet(path=str(top), side=8)


def shades(array):
    return np.asarray(array)[:, 0, 4, 4].tolist()


# What is read


def test_images_are_in_the_order_of_files_and_rows(dataset, tmp_path):
    found, labels = dataset.load(tmp_path, "train")
    assert (found.shape, found.dtype, labels.dtype) == ((11, 3, 8, 8), np.uint8, np.int64)
    assert shades(found) == [*range(11)]
    assert labels.tolist() == [i % 3 for i in range(11)]
    assert dataset.classes == NAMES
    assert dataset.names(tmp_path) == tuple(f"{i}.png" for i in range(11))
    assert shades(dataset.load(tmp_path, "test")[0]) == [11, 12, 13]


def test_it_keeps_the_contract_of_datasets(dataset, tmp_path):
    conform(dataset, tmp_path)


def test_a_path_makes_one(top):
    dataset = load().dataset(f"parquet:{top}@8")
    assert dataset.name.startswith("parquet-shards-8-") and dataset.lineage[1:] == ("parquet", "folder")


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_the_library_has_the_same_rows(dataset, top, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    read = datasets.load_dataset("parquet", data_dir=str(top), cache_dir=str(tmp_path / "cache"))
    assert read["train"].features["label"].names == list(NAMES)
    for split in ("train", "test"):
        found, labels = dataset.load(tmp_path, split)
        assert labels.tolist() == read[split]["label"]
        assert shades(found) == [np.asarray(image)[4, 4, 0] for image in read[split]["image"]]
    gc.collect()


@pytest.mark.parametrize("cache", [True, False])
def test_large_sets_are_decoded_once_into_the_data_folder(top, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(decoding, "SMALL", 0)
    dataset = Parquet(path=str(top), side=8, cache=cache)
    for _ in range(2):
        assert shades(dataset.load(tmp_path / "data", "train")[0]) == [*range(11)]
    assert len([*(tmp_path / "data/decoded").glob("*/facts.json")]) == 1


def test_a_snapshot_of_the_hub_is_a_folder_of_links(top, tmp_path):
    """HF_HOME/hub/datasets--NAME/snapshots/REVISION has links into blobs/."""
    snapshot = tmp_path / "datasets--a--b/snapshots/0a1b"
    for number, path in enumerate(sorted(top.rglob("*.parquet"))):
        blob = snapshot.parent.parent / "blobs" / str(number)
        link = snapshot / path.relative_to(top)
        for folder in (blob.parent, link.parent):
            folder.mkdir(parents=True, exist_ok=True)
        path.rename(blob)
        link.symlink_to(blob)
    dataset = load().dataset(f"parquet:{snapshot}@8")
    assert shades(dataset.load(tmp_path / "data", "train")[0]) == [*range(11)]


def test_rows_may_be_read_in_any_order(dataset, monkeypatch):
    """Forward it reads on, backward and far ahead it begins anew at a row group."""
    monkeypatch.setattr(module, "CHUNK_SIZE", 2)
    monkeypatch.setattr(module, "reach", lambda: 4)
    rows = dataset.rows("train")
    shown = {name: i for i, name in enumerate(rows.tree.names)}
    order = np.random.default_rng(0).permutation(np.repeat(rows.tree.names, 3))
    assert [rows.tree.read(name) for name in order] == [png(shown[name]) for name in order]


def test_memory_holds_a_few_batches_and_not_the_file(write, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SIZE", 2)
    monkeypatch.setattr(module, "reach", lambda: 4)
    path = write("train-0", rows=100, image=images(0, 30), label=[0] * 30)
    reader = module._Images(path, "image.bytes")
    for row in range(30):
        assert reader.read(row) == png(row)
        assert sum(len(batch) for _, batch in reader._window) <= 6


def test_names_are_places_where_files_have_none_of_their_own(dataset, write, tmp_path):
    write("data/train-00000-of-00002", FEATURES, image=images(0, 6, "same.png"), label=[0] * 6)
    assert dataset.names(tmp_path)[:2] == (
        "data/train-00000-of-00002.parquet/0",
        "data/train-00000-of-00002.parquet/1",
    )
    assert len(set(dataset.names(tmp_path))) == 11


def test_a_table_of_another_program_needs_no_features(write, tmp_path):
    write("train-0", picture=[png(i) for i in range(4)], label=["owl", "cat", "owl", "dog"], width=[8] * 4)
    write("test-0", picture=[png(9)], label=["cat"], width=[8])
    dataset = Parquet(path=str(tmp_path / "shards"), side=8)
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.load(tmp_path, "train")[1].tolist() == [2, 0, 2, 1]
    assert shades(dataset.load(tmp_path, "test")[0]) == [9]


def test_the_only_class_label_is_the_label_and_a_suite_may_say_another(write, tmp_path):
    features = {"img": {"_type": "Image"}, "fine": FEATURES["label"]}
    columns = {"img": images(0, 3), "fine": [2, 1, 0], "coarse": [0, 0, 1]}
    write("train-0", features, **columns)
    top = str(tmp_path / "shards")
    assert Parquet(path=top, side=8).classes == NAMES
    assert Parquet(path=top, side=8, label="coarse").classes == ("0", "1")
    write("train-0", features | {"coarse": {"_type": "ClassLabel", "names": ["a", "b"]}}, **columns)
    message = line(lambda: Parquet(path=top, side=8).classes)
    assert message.endswith("are img, fine, coarse; say which of fine, coarse with `label` in a suite")
    assert Parquet(path=top, side=8, label="coarse").classes == ("a", "b")


def test_numbers_are_the_classes_of_the_schema_whatever_these_are_called(write, tmp_path):
    features = FEATURES | {"label": {"_type": "ClassLabel", "names": ["1", "0"]}}
    write("train-0", features, image=images(0, 2), label=[0, 1])
    assert Parquet(path=str(tmp_path / "shards"), side=8).load(tmp_path, "train")[1].tolist() == [0, 1]


# What is refused


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        (
            {"text": ["a"], "label": [0]},
            None,
            "has no columns of images, expected one of bytes, or of structs",
        ),
        ({"a": [b"1"], "b": [b"2"], "label": [0]}, None, "has 2 columns of images, expected one of bytes"),
        ({"image": [b"1"]}, None, "has no column 'label' of labels; its columns are image"),
        (
            {"image": [b"1"], "label": [0.5]},
            None,
            "has the column 'label' of double, expected whole numbers or",
        ),
        ({"image": [b"1", b"2"], "label": [0, None]}, None, "has no label in row 1, counted from 0 (1 such)"),
        ({"image": [b"1"], "label": [0]}, b"[", "has no features in its metadata `huggingface`, as datasets"),
        ({"image": [b"1"], "label": [0]}, b"[]", "has no features in its metadata `huggingface`"),
    ],
)
def test_a_table_without_what_is_needed_is_one_line(write, tmp_path, columns, features, message):
    path = write("train-0", features, **columns)
    told = line(lambda: Parquet(path=str(tmp_path / "shards"), side=8).load(tmp_path, "train"))
    assert told.startswith(str(path)) and message in told


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_one_line(write, dataset, top, tmp_path, label):
    write("data/test-00000-of-00001", FEATURES, image=images(0, 2), label=[0, label])
    assert line(lambda: dataset.load(tmp_path, "test")) == (
        f"{top}: image 1 of the test split has the label '{label}', which is none of the 3 classes: "
        "owl, cat, dog"
    )


@pytest.mark.parametrize("broken", [lambda content: content[:-9], lambda content: b"", lambda _: b"<html>"])
def test_a_file_that_is_no_whole_parquet_file_is_one_line(dataset, top, tmp_path, broken):
    path = top / "data/train-00001-of-00002.parquet"
    path.write_bytes(broken(path.read_bytes()))
    assert line(lambda: dataset.load(tmp_path, "train")).startswith(f"{path} is not a whole Parquet file: ")


def test_a_name_that_is_no_text_is_one_line(pa, write, tmp_path):
    paths = pa.array([b"\xb2.png"], pa.binary()).view(pa.string())
    column = pa.StructArray.from_arrays([pa.array([b"1"], pa.binary()), paths], ["bytes", "path"])
    path = write("train-0", image=column, label=[0])
    dataset = Parquet(path=str(tmp_path / "shards"), side=8)
    assert line(lambda: dataset.classes).startswith(f"{path} is not a whole Parquet file: 'utf-8' codec")


def test_an_image_without_bytes_fails_or_is_skipped(write, dataset, top, tmp_path):
    column = images(0, 6)
    column[2] = {"bytes": None, "path": "/elsewhere/2.png"}
    write("data/train-00000-of-00002", FEATURES, image=column, label=[0] * 6)
    message = line(lambda: dataset.load(tmp_path, "train"))
    assert "train-00000-of-00002.parquet/2 (the table has no bytes of it)" in message
    skipping = Parquet(path=str(top), side=8, on_bad="skip")
    assert shades(skipping.load(tmp_path, "train")[0]) == [0, 1, *range(3, 11)]
    assert len(skipping.names(tmp_path)) == 10
