"""Image files with a table of labels: which tables are read, their order, and what is refused."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError
from prunebench.parts.dataset_conformance import conform
from prunebench.parts.registry import load
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets.imagefolder import ImageFolder
from tests.messages import line

WORDS = ("owl", "cat", "dog")


def write(folder, numbers, lines=None):
    """Write images that show their numbers, and the text of a table, by default a .csv."""
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    for i in numbers:
        Image.new("RGB", (12, 12), (i, i, i)).save(folder / f"deep/{i}.png")
    if lines is None:
        lines = "file_name,label,note\n" + "".join(f"deep/{i}.png,{WORDS[i % 3]},x\n" for i in numbers)
    (folder / "metadata.csv").write_text(lines)


@pytest.fixture
def top(tmp_path):
    """Six images to train on in train/, three to test on in test/. Image i shows i."""
    write(tmp_path / "birds/train", [4, 3, 0, 1, 2, 5])
    write(tmp_path / "birds/test", [6, 7, 8])
    return tmp_path / "birds"


@pytest.fixture
def dataset(top):
    return ImageFolder(path=str(top), side=8)


def shades(images):
    return images[:, 0, 4, 4].tolist()


def test_images_are_in_the_order_of_the_table(dataset, top, tmp_path):
    images, labels = dataset.load(tmp_path, "train")
    assert (images.shape, labels.dtype) == ((6, 3, 8, 8), np.int64)
    assert shades(images) == [4, 3, 0, 1, 2, 5]
    assert dataset.classes == ("cat", "dog", "owl")
    assert labels.tolist() == [0, 2, 2, 0, 1, 1]
    assert dataset.names(tmp_path)[0] == "train/deep/4.png"
    assert dataset.paths(tmp_path)[0] == top / "train/deep/4.png"
    assert shades(dataset.load(tmp_path, "test")[0]) == [6, 7, 8]


def test_it_keeps_the_contract_of_datasets(dataset, tmp_path):
    conform(dataset, tmp_path)


def test_the_key_follows_tables_and_images(top, tmp_path, store):
    dataset = load().dataset(f"imagefolder:{top}@8")
    keys = {dataset_key(dataset, tmp_path, store)}
    Image.new("RGB", (12, 12), (99, 99, 99)).save(top / "test/deep/6.png")
    keys.add(dataset_key(dataset, tmp_path, store))
    text = (top / "train/metadata.csv").read_text()
    (top / "train/metadata.csv").write_text(text.replace("4.png,cat", "4.png,dog"))
    keys.add(dataset_key(dataset, tmp_path, store))
    assert len(keys) == 3


def test_a_table_may_be_json_lines(top, dataset, tmp_path):
    (top / "train/metadata.csv").unlink()
    entries = [{"file_name": f"deep/{i}.png", "label": i % 3, "note": None} for i in range(6)]
    text = "\n\n".join(map(json.dumps, entries))
    (top / "train/metadata.jsonl").write_text(text)
    write(top / "test", [6, 7], "file_name,label\ndeep/6.png,0\ndeep/7.png,2\n")
    assert dataset.classes == ("0", "1", "2")
    assert dataset.load(tmp_path, "train")[1].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.load(tmp_path, "test")[1].tolist() == [0, 2]


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_the_library_has_the_same_images_in_the_same_order(dataset, top, tmp_path):
    datasets = pytest.importorskip("datasets")
    read = datasets.load_dataset("imagefolder", data_dir=str(top), cache_dir=str(tmp_path / "cache"))
    for split in ("train", "test"):
        images, labels = dataset.load(tmp_path, split)
        assert shades(images) == [np.asarray(image)[0, 0, 0] for image in read[split]["image"]]
        assert [dataset.classes[label] for label in labels] == [*read[split]["label"]]
    del read
    gc.collect()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\ndeep/0.png,\n", "has no label of deep/0.png in line 2"),
        ("file_name,label\ndeep/99.png,owl\n", "lacks 1 file(s) that its tables name: train/deep/99.png"),
        (
            "file_name,label\n../test/deep/6.png,owl\n",
            "names '../test/deep/6.png' in line 2, which leads out of",
        ),
        ("file_name,label\n/etc/hostname,owl\n", "names '/etc/hostname' in line 2, which leads out of"),
        ("file_name,label\ndeep/0.png,a\ndeep/0.png,b\n", "has tables that name an image twice"),
        ("file_name,text\ndeep/0.png,a\n", "needs one column 'label' and has none"),
        ("file_name,label\n", "lists no image"),
    ],
)
def test_a_table_with_something_wrong_is_one_line(top, dataset, tmp_path, text, message):
    (top / "train/metadata.csv").write_text(text)
    assert message in line(lambda: dataset.load(tmp_path, "train"))


@pytest.mark.parametrize("text", ["{", "[1]", '{"file_name": "deep/0.png"}', '{"file_name": 1, "label": 1}'])
def test_a_line_of_json_with_something_wrong_is_one_line(top, dataset, tmp_path, text):
    (top / "train/metadata.csv").unlink()
    (top / "train/metadata.jsonl").write_text('{"file_name": "deep/0.png", "label": 0}\n' + text)
    told = line(lambda: dataset.load(tmp_path, "train"))
    assert told.startswith(f"{top}/train/metadata.jsonl has a line 2 without file_name and label: ")


def test_a_label_of_a_test_image_that_is_no_class_is_one_line(top, dataset, tmp_path):
    write(top / "test", [6], "file_name,label\ndeep/6.png,newt\n")
    message = line(lambda: dataset.load(tmp_path, "test"))
    assert "image 0 of the test split has the label 'newt', which is none of the 3 classes" in message


def test_a_missing_table_is_one_line(top, dataset, tmp_path):
    shutil.rmtree(top / "test")
    assert line(lambda: dataset.files(tmp_path), DataAbsentError) == (
        f"{top} has no metadata.csv or metadata.jsonl of the test split; expected test in its name, or a "
        "folder test/ around it"
    )
