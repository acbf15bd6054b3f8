"""Caltech-101 on a miniature of all its classes in the published layout, and its split at full size."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError
from prunebench.parts.sampling import draw_labels
from prunebench.parts.seeds import stream
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets import register_datasets
from prunebench_plugins.datasets.caltech101 import Caltech101, one_in_five
from tests.messages import line
from tests.plugins.test_archives import below

VALUES = {d.name: d for d in register_datasets() if not isinstance(d, type)}
SIZES = tuple(5 + 5 * (c % 3 == 0) for c in range(101))
SMALL = Caltech101(sizes=SIZES, side=16, verify=False)
CLASSES = SMALL.classes
TOP = "101_ObjectCategories"


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def published():
    """The files of the tar archive: 5 or 10 images of each class, which show it, and some of no class."""
    files = {}
    for c, (name, size) in enumerate(zip(CLASSES, SIZES, strict=True)):
        for i in range(size):
            kind = "L" if i == 3 else "RGB"  # some are gray
            files[f"{name}/image_{i + 1:04d}.jpg"] = jpeg(Image.new("RGB", (30, 20), (c,) * 3).convert(kind))
    clutter = {f"BACKGROUND_Google/image_{i:04d}.jpg": jpeg(Image.new("L", (9, 9))) for i in range(1, 4)}
    return files | clutter | {"BACKGROUND_Google/tmp": b"?"}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def tarred(files, prefix=f"{TOP}/"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zipped(path, files):
    """The zip archive as it is published today."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", tarred(files))
        archive.writestr("caltech-101/Annotations.tar", b"?")
        archive.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"?")


def check(root):
    """Images by class, then name; each shows its class as its shade; a fifth of all is to test."""
    seen = {}
    for split, count in (("train", sum(SIZES) * 4 // 5), ("test", sum(SIZES) // 5)):
        images, labels = SMALL.load(root, split)
        assert (images.shape, images.dtype, labels.dtype) == ((count, 3, 16, 16), np.uint8, np.int64)
        np.testing.assert_array_equal(images[:, :, 8, 8], np.repeat(labels[:, None], 3, axis=1))
        assert (np.diff(labels) >= 0).all()
        np.testing.assert_array_equal(
            np.bincount(labels), np.array(SIZES) * (4 if split == "train" else 1) // 5
        )
        seen[split] = SMALL.split(root, split).names
    assert SMALL.names(root) == seen["train"] == tuple(sorted(seen["train"]))
    assert not {*seen["train"]} & {*seen["test"]} and len({*seen["train"], *seen["test"]}) == sum(SIZES)


FOLDERS = [
    f"caltech101/caltech-101/{TOP}",
    f"caltech-101/{TOP}",
    f"caltech101/{TOP}",
    "caltech101",
    TOP,
]


def test_the_published_folder(tmp_path, published):
    write(tmp_path / TOP, published | {"accordion/._image_0001.jpg": b"?", ".DS_Store": b"?"})
    check(tmp_path)
    assert len(SMALL.files(tmp_path)) == sum(SIZES)


def test_the_order_of_the_folders(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder / "Faces_easy").mkdir(parents=True)
        assert SMALL.folder(tmp_path) == tmp_path / folder


def test_labels_are_those_of_torchvision(tmp_path, published):
    from torchvision.datasets import Caltech101 as Theirs

    write(tmp_path / "caltech101" / TOP, {n: c for n, c in published.items() if not n.endswith("tmp")})
    theirs = Theirs(str(tmp_path))
    assert tuple(theirs.categories) == CLASSES
    names = [f"{CLASSES[c]}/image_{i:04d}.jpg" for c, i in zip(theirs.y, theirs.index, strict=True)]
    known = dict(zip(names, theirs.y, strict=True))
    for split in ("train", "test"):
        ours = SMALL.split(tmp_path, split)
        assert [known[name] for name in ours.names] == ours.labels.tolist()


@pytest.mark.parametrize("folder", [".", "caltech101"])
def test_the_zip_archive_is_unpacked_by_fetch_alone(tmp_path, store, published, folder):
    path = tmp_path / folder / "caltech-101.zip"
    zipped(path, published)
    assert f"({path} is not unpacked yet; " in line(lambda: SMALL.load(tmp_path, "train"))
    assert dataset_key(SMALL, tmp_path, store) == "absent:caltech101"
    SMALL.fetch(tmp_path)
    check(tmp_path)
    assert SMALL.folder(tmp_path) == path.parent / TOP
    write(tmp_path / "other" / TOP, published)
    assert dataset_key(SMALL, tmp_path, store) == dataset_key(SMALL, tmp_path / "other", store)


@pytest.mark.parametrize("folder", [".", "caltech101", "caltech-101"])
def test_the_archive_in_the_zip_archive_alone(tmp_path, published, folder):
    path = tmp_path / folder / f"{TOP}.tar.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tarred(published))
    SMALL.fetch(tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("name", ["caltech-101.zip", f"{TOP}.tar.gz"])
def test_a_page_in_place_of_an_archive(tmp_path, name):
    (tmp_path / name).write_bytes(b"<!DOCTYPE html><html>404</html>")
    message = line(lambda: SMALL.fetch(tmp_path))
    reason = "it begins with b'<!DOCTYPE html><'"
    assert message == f"{tmp_path / name} is not a whole archive: {reason}. Delete it and get it again."
    assert below(tmp_path) == {name}


def test_an_archive_with_paths_that_lead_out(tmp_path, published):
    root = tmp_path / "data"
    zipped(root / "caltech-101.zip", published | {"../../evil": b"!"})
    message = line(lambda: SMALL.fetch(root))
    assert f"it holds '{TOP}/../../evil', which leads out of it" in message
    assert below(tmp_path) == {"data", "data/caltech-101.zip"}


def test_absent_says_where_to_put_what(tmp_path):
    with pytest.raises(DataAbsentError) as absent:
        SMALL.files(tmp_path)
    assert str(absent.value) == (
        f"caltech101 is not on this machine: put caltech-101.zip or {TOP}.tar.gz, packed or unpacked, into "
        f"{tmp_path}; it is at https://data.caltech.edu/records/mzrjq-6wc02"
    )


def test_address_and_digest_are_those_of_torchvision():
    places = find_spec("torchvision").submodule_search_locations
    source = (Path(places[0]) / "datasets/caltech.py").read_text()
    assert f'"{SMALL.archives[0].url}"' in source and f'"{SMALL.archives[0].digest}"' in source


# What is wrong


def test_a_missing_class_folder(tmp_path, published):
    write(tmp_path / TOP, {n: c for n, c in published.items() if not n.startswith("wrench/")})
    n = sum(SIZES)
    assert line(lambda: SMALL.load(tmp_path, "train")) == (
        f"{tmp_path / TOP} has {n - SIZES[99]} images, expected {n} of 101 classes; 1 differ, such as "
        "'wrench' with 0. Get it again."
    )


def test_one_image_too_few_or_too_many(tmp_path, published):
    write(tmp_path / TOP, published)
    (tmp_path / TOP / "ant/image_0002.jpg").rename(tmp_path / TOP / "bass/image_0999.jpg")
    assert "2 differ, such as 'ant' with " in line(lambda: SMALL.load(tmp_path, "test"))
    assert "expected 8677 of 101 classes; 101 differ" in line(lambda: Caltech101().load(tmp_path, "test"))


def test_a_class_that_does_not_belong(tmp_path, published):
    write(tmp_path / TOP, published | {"yoga/image_0001.jpg": b"?"})
    message = line(lambda: SMALL.load(tmp_path, "train"))
    assert message == f"{tmp_path / TOP} has a class 'yoga', which Caltech-101 does not have. Get it again."


# The real dataset


@pytest.fixture(scope="module")
def full():
    """The labels of all images, in their order, and which are in each split."""
    labels = np.repeat(np.arange(101), Caltech101().sizes)
    return labels, one_in_five(labels)


def test_registered():
    real = VALUES["caltech101"]
    assert real == Caltech101() and len(set(CLASSES)) == 101 and sorted(CLASSES) == list(CLASSES)
    assert CLASSES[:5] == ("Faces", "Faces_easy", "Leopards", "Motorbikes", "accordion")
    assert "BACKGROUND_Google" not in CLASSES
    assert (sum(real.sizes), min(real.sizes), max(real.sizes)) == (8677, 31, 800)
    assert (real.sizes[0], real.sizes[3], real.sizes[-1]) == (435, 798, 60)


def test_the_split_has_the_published_sizes_and_never_changes(full):
    labels, index = full
    assert (len(index["train"]), len(index["test"])) == (6941, 1736)
    assert sorted([*index["train"], *index["test"]]) == list(range(8677))
    assert all((np.diff(part) > 0).all() for part in index.values())
    sizes = np.bincount(labels)
    assert np.abs(np.bincount(labels[index["test"]]) - 0.2 * sizes).max() < 1
    digest = hashlib.sha256(index["test"].astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "b378b76bf58543df"


def test_label_budget(full):
    labels, index = full
    truth = labels[index["train"]]
    draws = [draw_labels(truth, 0.1, "uniform", stream("known", repeat)) for repeat in (0, 0, 1)]
    assert len(draws[0]) == 694
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    counts = np.bincount(truth[draw_labels(truth, 0.1, "stratified", stream("known", 0))], minlength=101)
    assert counts.sum() == 694 and counts.min() >= 1
