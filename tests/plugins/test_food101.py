"""Food-101 on a miniature of all its classes in the published layout; what datasets of photos share."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError
from prunebench.parts.sampling import draw_labels
from prunebench.parts.seeds import stream
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets import register_datasets
from prunebench_plugins.datasets.food101 import Food101
from tests.messages import line
from tests.plugins.test_archives import below

VALUES = {d.name: d for d in register_datasets() if not isinstance(d, type)}
FOOD = Food101(train_per_class=3, test_per_class=1, side=16, verify=False)
CLASSES = FOOD.classes


def jpeg(shade, size=(24, 20)):
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def published():
    """The files of the archive by name: four images of each class, which show it, one of them to test."""
    files, listed = {}, {"train": [], "test": []}
    for c, name in enumerate(CLASSES):
        for i, number in enumerate((2134, 10080, 997)):
            files[f"images/{name}/{number}.jpg"] = jpeg(c + 100 * (i == 1))
            listed["train"].append(f"{name}/{number}")
        files[f"images/{name}/5000.jpg"] = jpeg(c)
        listed["test"].append(f"{name}/5000")
    for split, lines in listed.items():
        files[f"meta/{split}.txt"] = "".join(f"{entry}\n" for entry in lines).encode()
        by_class = {name: [entry for entry in lines if entry.startswith(f"{name}/")] for name in CLASSES}
        files[f"meta/{split}.json"] = json.dumps(by_class).encode()
    files["meta/classes.txt"] = "".join(f"{name}\n" for name in CLASSES).encode()
    labels = [name.replace("_", " ").capitalize() for name in CLASSES]
    files["meta/labels.txt"] = "".join(f"{name}\n" for name in labels).encode()
    return files | {"README.txt": b"Food-101", "license_agreement.txt": b"..."}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pack(path, files, prefix="food-101/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def check(root, dataset=FOOD):
    """Images by class, then name as text; each shows its class as its shade."""
    images, labels = dataset.load(root, "train")
    assert (images.shape, images.dtype, labels.dtype) == ((303, 3, 16, 16), np.uint8, np.int64)
    np.testing.assert_array_equal(labels, np.repeat(np.arange(101), 3))
    np.testing.assert_array_equal(images[:, 0, 8, 8], labels + np.tile([100, 0, 0], 101))
    numbers = (10080, 2134, 997)
    assert dataset.names(root) == tuple(f"{name}/{n}.jpg" for name in CLASSES for n in numbers)
    images, labels = dataset.load(root, "test")
    np.testing.assert_array_equal(labels, np.arange(101))
    np.testing.assert_array_equal(images[:, 1, 8, 8], labels)


# Reading


def test_the_published_folder(tmp_path, published):
    write(tmp_path / "food-101", published)
    check(tmp_path)
    files = FOOD.files(tmp_path)
    assert len(files) == len(set(files)) == 404 + 2 and all(path.is_file() for path in files)
    assert {path.name for path in files[:2]} == {"train.txt", "test.txt"}


def test_it_is_what_torchvision_reads(tmp_path, published):
    """The same images with the same labels; torchvision has them in the order of a JSON file."""
    from torchvision.datasets import Food101 as Theirs

    write(tmp_path / "food-101", published)
    for split in ("train", "test"):
        theirs, ours = Theirs(str(tmp_path), split=split), FOOD.split(tmp_path, split)
        files = [str(path.relative_to(tmp_path / "food-101")) for path in theirs._image_files]
        assert dict(zip(files, theirs._labels, strict=True)) == dict(
            zip(ours.files, ours.labels.tolist(), strict=True)
        )
        assert tuple(theirs.classes) == CLASSES


def test_folders_are_looked_for_in_order(tmp_path):
    for folder in ("food-101/food-101", "food101/food-101", "food101", "food-101"):
        write(tmp_path / folder, {"images/x": b"", "meta/train.txt": b"", "meta/test.txt": b""})
        assert FOOD.folder(tmp_path) == tmp_path / folder


def test_the_key_does_not_depend_on_the_place_or_on_clutter(tmp_path, store, published):
    clutter = {"images/apple_pie/._997.jpg": b"?", ".DS_Store": b"?"}
    clutter |= {f"images/{place}/997.jpg": jpeg(7) for place in (".ipynb_checkpoints", "pizza/@eaDir")}
    marked = {name: b"\xef\xbb\xbf" + published[name] for name in ("meta/train.txt", "meta/test.txt")}
    write(tmp_path / "food101/food-101", published | clutter | marked)
    write(tmp_path / "other/food-101", published)
    assert dataset_key(FOOD, tmp_path, store) == dataset_key(FOOD, tmp_path / "other", store)


def test_the_key_follows_every_image_and_every_list(tmp_path, store, published):
    swapped = {
        "meta/train.txt": published["meta/train.txt"].replace(b"waffles/997", b"waffles/5000"),
        "meta/test.txt": published["meta/test.txt"].replace(b"waffles/5000", b"waffles/997"),
    }
    forms = {"a": {}, "b": {"images/waffles/997.jpg": jpeg(7)}, "c": swapped}
    keys = set()
    for root, change in forms.items():
        write(tmp_path / root / "food-101", published | change)
        keys.add(dataset_key(FOOD, tmp_path / root, store))
    assert len(keys) == 3


def test_the_middle_of_an_image_is_kept_at_the_side_that_is_stored(tmp_path, published):
    strip = np.zeros((60, 180, 3), np.uint8)
    strip[:, 60:120] = 200
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "PNG")  # whatever it is called
    write(tmp_path / "food-101", published | {"images/apple_pie/10080.jpg": file.getvalue()})
    for side in (16, 40):
        images, _ = replace(FOOD, side=side).load(tmp_path, "train")
        assert images.shape[1:] == (3, side, side)
        assert (images[0, :, :, side // 4 : -side // 4] == 200).all()


def test_without_a_cache_the_same_images(tmp_path, published):
    write(tmp_path / "food-101", published)
    lazily, labels = replace(FOOD, cache=False).load(tmp_path, "train")
    images, same = FOOD.load(tmp_path, "train")
    np.testing.assert_array_equal(labels, same)
    np.testing.assert_array_equal(lazily[np.array([3, 300])], images[[3, 300]])


def test_images_that_cannot_be_read_fail_or_are_skipped(tmp_path, store, published):
    bad = {"images/baklava/2134.jpg": PAGE, "images/waffles/5000.jpg": b""}
    write(tmp_path / "food-101", published | bad)
    for split, name in (("train", "images/baklava/2134.jpg"), ("test", "images/waffles/5000.jpg")):
        assert name in line(lambda split=split: FOOD.load(tmp_path, split))
    skipping = replace(FOOD, on_bad="skip")
    images, labels = skipping.load(tmp_path, "train")
    names = skipping.names(tmp_path)
    assert len(images) == len(labels) == len(names) == 302
    gone = FOOD.names(tmp_path).index("baklava/2134.jpg")
    assert names == FOOD.names(tmp_path)[:gone] + FOOD.names(tmp_path)[gone + 1 :]
    assert np.bincount(labels)[2] == 2 and images[gone, 0, 8, 8] == labels[gone] == 2
    assert len(skipping.load(tmp_path, "test")[1]) == 100
    assert len(dataset_key(skipping, tmp_path, store)) == 64


# Unpacking and downloading


@pytest.mark.parametrize("folder", [".", "food101"])
def test_the_archive_is_unpacked_by_fetch_alone(tmp_path, store, published, folder):
    path = tmp_path / folder / "food-101.tar.gz"
    pack(path, published)
    for action in (FOOD.files, FOOD.names, lambda root: FOOD.load(root, "train")):
        with pytest.raises(DataAbsentError) as absent:
            action(tmp_path)
        reason = f"({path} is not unpacked yet; `prunebench run` unpacks it)"
        assert str(absent.value).startswith(f"food101 is not on this machine {reason}: put food-101.tar.gz, ")
    assert dataset_key(FOOD, tmp_path, store) == "absent:food101"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    FOOD.fetch(tmp_path)
    FOOD.fetch(tmp_path)
    check(tmp_path)
    assert path.is_file() and {p.name for p in path.parent.iterdir()} >= {"food-101", "food-101.tar.gz"}


PAGE = b"<!DOCTYPE html><html>404</html>"


def test_a_page_in_place_of_the_archive(tmp_path):
    path = tmp_path / "food-101.tar.gz"
    path.write_bytes(PAGE)
    message = line(lambda: FOOD.fetch(tmp_path))
    reason = f"it begins with {PAGE[:16]!r}"
    assert message == f"{path} is not a whole archive: {reason}. Delete it and get it again."
    assert below(tmp_path) == {path.name}


def test_an_archive_with_paths_that_lead_out(tmp_path, published):
    root = tmp_path / "data"
    pack(root / "food-101.tar.gz", published | {"../../evil": b"!"})
    message = line(lambda: FOOD.fetch(root))
    assert "it holds 'food-101/../../evil', which leads out of it" in message
    assert below(tmp_path) == {"data", "data/food-101.tar.gz"}


def test_an_archive_that_is_not_the_published_one(tmp_path, published):
    pack(tmp_path / "food-101.tar.gz", published)
    found = hashlib.md5((tmp_path / "food-101.tar.gz").read_bytes()).hexdigest()
    message = line(lambda: replace(FOOD, verify=True).fetch(tmp_path))
    assert f"its md5 is {found}, expected {FOOD.archives[0].digest}" in message
    assert below(tmp_path) == {"food-101.tar.gz"}


@pytest.fixture
def torchvision(monkeypatch):
    """torchvision(download_url) stands in for the function of torchvision."""

    def put(download_url):
        monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace())
        module = SimpleNamespace(download_url=download_url)
        monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", module)

    return put


def test_fetch_downloads_what_is_absent_only(tmp_path, torchvision, published):
    calls = []

    def download_url(url, root, filename, md5):
        calls.append((url, filename, md5))
        pack(Path(root) / filename, published)

    torchvision(download_url)
    FOOD.fetch(tmp_path / "new")
    FOOD.fetch(tmp_path / "new")
    check(tmp_path / "new")
    archive = FOOD.archives[0]
    assert calls == [(archive.url, "food-101.tar.gz", archive.digest)]


def test_fetch_without_a_network(tmp_path, torchvision):
    def offline(*_):
        raise OSError("no route\nto host")

    torchvision(offline)
    with pytest.raises(DataAbsentError) as failed:
        FOOD.fetch(tmp_path)
    assert str(failed.value) == (
        "food101 is not on this machine (download failed: no route to host): put food-101.tar.gz, packed or "
        f"unpacked, into {tmp_path}; it is at http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
    )
    assert not below(tmp_path)


def test_address_and_digest_are_those_of_torchvision():
    places = find_spec("torchvision").submodule_search_locations
    source = (Path(places[0]) / "datasets/food101.py").read_text()
    assert f'"{FOOD.archives[0].url}"' in source and f'"{FOOD.archives[0].digest}"' in source


# What is wrong


@pytest.mark.parametrize("missing", ["meta/train.txt", "meta/test.txt"])
def test_a_missing_list(tmp_path, published, missing):
    write(tmp_path / "food-101", {name: c for name, c in published.items() if name != missing})
    message = line(lambda: FOOD.load(tmp_path, "train"))
    assert message.startswith(f"food101 is not on this machine ({tmp_path}/food-101 has no {missing}): put ")


def test_an_incomplete_folder_is_not_unpacked_over(tmp_path, published):
    pack(tmp_path / "food-101.tar.gz", published)
    (tmp_path / "food-101/images").mkdir(parents=True)
    message = line(lambda: FOOD.fetch(tmp_path))
    assert message == (f"{tmp_path}/food-101 is incomplete: move it away, then food-101.tar.gz is unpacked")


def test_a_missing_class_folder(tmp_path, published):
    root = tmp_path / "food-101"
    write(root, {name: c for name, c in published.items() if "images/pizza/" not in name})
    assert line(lambda: FOOD.load(tmp_path, "train")) == (
        f"{root} lacks 3 of the 303 images that {root}/meta/train.txt names, such as images/pizza/10080.jpg. "
        "Get it again."
    )


def test_too_few_images(tmp_path, published):
    root = tmp_path / "food-101"
    cut = published["meta/train.txt"].replace(b"pizza/997\n", b"")
    write(root, published | {"meta/train.txt": cut})
    assert line(lambda: FOOD.load(tmp_path, "train")) == (
        f"{root}/meta/train.txt has 302 images, expected 3 of each of 101 classes; 1 differ, such as 'pizza' "
        "with 2. Get it again."
    )
    assert "expected 250 of each of 101 classes" in line(lambda: Food101().load(tmp_path, "test"))


def test_a_line_twice_does_not_stand_for_another(tmp_path, published):
    twice = published["meta/train.txt"].replace(b"pizza/997", b"pizza/2134")
    write(tmp_path / "food-101", published | {"meta/train.txt": twice})
    assert "302 images, expected 3" in line(lambda: FOOD.load(tmp_path, "train"))


@pytest.mark.parametrize("text", [b"<html>\n", b"haggis/1\n", b"../../pizza/1\n"])
def test_a_list_of_something_else(tmp_path, published, text):
    root = tmp_path / "food-101"
    write(root, published | {"meta/test.txt": published["meta/test.txt"] + text})
    message = line(lambda: FOOD.load(tmp_path, "test"))
    assert message == (
        f"{root}/meta/test.txt names {text.decode().strip()!r}, of no class of Food-101. Get it again."
    )


def test_fields_out_of_range():
    assert line(lambda: Food101(side=0)) == "food101.side is 0, expected above 0 pixels"
    assert line(lambda: Food101(on_bad="mend")) == "food101.on_bad is 'mend', expected 'fail' or 'skip'"


# The real dataset


def test_registered():
    real = VALUES["food101"]
    assert real == Food101() and real.lineage == ("food101",)
    assert Food101(name="food_small", side=64).lineage == ("food_small", "food101")  # so recipes find it
    assert (real.train_per_class * 101, real.test_per_class * 101) == (75_750, 25_250)
    assert (real.resolution, real.cache, real.on_bad, real.verify) == (256, True, "fail", True)
    assert (real.mean, real.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert len(set(CLASSES)) == 101 and sorted(CLASSES) == list(CLASSES)
    assert (CLASSES[0], CLASSES[16], CLASSES[-1]) == ("apple_pie", "cheese_plate", "waffles")


@pytest.mark.parametrize("label_fraction, labels", [(0.01, 757), (0.02, 1515), (0.05, 3787), (0.1, 7575)])
def test_label_budgets(label_fraction, labels):
    """Drawn uniformly; the published runs annotated 707, 1515, 3838 and 7575, as many of each class."""
    truth = np.repeat(np.arange(101), 750)
    first, again = (draw_labels(truth, label_fraction, "uniform", stream("known", 0)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == labels
