"""SUN397 on a miniature of all its classes in the published layout, in both partitions."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
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
from prunebench_plugins.datasets.sun397 import LISTS, Sun397
from tests.messages import line
from tests.plugins.test_archives import below

VALUES = {d.name: d for d in register_datasets() if not isinstance(d, type)}
SIZES = 5 + 2 * (
    np.arange(397) % 2
)  # of the classes; one image of each is listed for validation, one to test
TOTALS = {
    "images": int(SIZES.sum()),
    "train_images": int(SIZES.sum()) - 2 * 397,
    "test_images": 397,
    "class_sizes": (5, 7),
}
LISTED = Sun397(**TOTALS, side=8, verify=False)
SEEDED = replace(LISTED, name="sun397_seeded", partition="seeded")
CLASSES = LISTED.classes


def encoded(image, kind="JPEG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def content(c, i):
    """A picture that shows the number of its class, of which some are no JPEG, as in the published files."""
    image = Image.new("RGB", (20, 16), (c // 2, c // 2, 200 * (c % 2)))
    if i == 1 and c % 10 == 0:
        return encoded(image, ("PNG", "GIF", "BMP")[c % 3])
    return encoded(image)


def path_of(c, i):
    """Names end in letters that say nothing; files of a class are named in the reverse of `i`."""
    return f"{CLASSES[c][0]}/{CLASSES[c]}/sun_{chr(ord('z') - i)}dkqx.jpg"


@pytest.fixture(scope="module")
def published():
    """The files of the archive by name."""
    files = {path_of(c, i): content(c, i) for c in range(397) for i in range(SIZES[c])}
    names = "".join(f"/{name[0]}/{name}\n" for name in CLASSES).encode()
    return files | {"ClassName.txt": names}


@pytest.fixture(scope="module")
def lists():
    """The lists of TensorFlow Datasets, by name: the last images of a class are to validate and to test."""
    chosen = {"tr": range(5), "va": range(-2, -1), "te": range(-1, 0)}
    lines = {key: [] for key in chosen}
    for c in range(397):
        every = [f"/{path_of(c, i)}\n" for i in range(SIZES[c])]
        lines["te"].append(every[-1])
        lines["va"].append(every[-2])
        lines["tr"] += every[:-2]
    return {f"sun397_tfds_{key}.txt": "".join(texts).encode() for key, texts in lines.items()}


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def check_pictures(images, labels):
    shown = 2 * images[:, 0, 4, 4].astype(int) + (images[:, 2, 4, 4] > 100)
    assert (images.shape[1:], images.dtype, labels.dtype) == ((3, 8, 8), np.uint8, np.int64)
    assert np.abs(shown - labels).max() <= 4  # JPEG is not exact
    assert ((shown - labels) % 2 == 0).all()


# Reading


def test_the_published_folder_and_the_lists(tmp_path, published, lists):
    write(tmp_path / "SUN397", published)
    write(tmp_path, lists)
    images, labels = LISTED.load(tmp_path, "train")
    check_pictures(images, labels)
    np.testing.assert_array_equal(labels, np.repeat(np.arange(397), SIZES - 2))
    expected = [path_of(c, i) for c in range(397) for i in reversed(range(SIZES[c] - 2))]
    assert LISTED.names(tmp_path) == tuple(expected)
    images, labels = LISTED.load(tmp_path, "test")
    check_pictures(images, labels)
    np.testing.assert_array_equal(labels, np.arange(397))
    files = LISTED.files(tmp_path)
    assert [path.name for path in files[:2]] == [name for name, _ in LISTS.values()]
    assert len(set(files)) == len(files) == 2 + SIZES.sum() and all(path.is_file() for path in files)


def test_labels_are_those_of_torchvision(tmp_path, published, lists):
    from torchvision import datasets

    write(tmp_path / "SUN397", published)
    write(tmp_path, lists)
    theirs = datasets.SUN397(str(tmp_path))
    assert tuple(theirs.classes) == CLASSES
    files = [path.relative_to(tmp_path / "SUN397").as_posix() for path in theirs._image_files]
    known = dict(zip(files, theirs._labels, strict=True))
    ours = LISTED.split(tmp_path, "train")
    assert [known[name] for name in ours.names] == ours.labels.tolist()


@pytest.mark.parametrize("place", [".", "sun397", "SUN397", "sun397/SUN397"])
@pytest.mark.parametrize("folder", ["SUN397", "sun397/SUN397"])
def test_where_folder_and_lists_may_be(tmp_path, published, lists, folder, place):
    write(tmp_path / folder, {path_of(c, i): b"" for c in range(397) for i in range(SIZES[c])})
    write(tmp_path / place, lists)
    if "SUN397" in place and place != folder:
        assert "but the list sun397_tfds_tr.txt is not in" in line(lambda: LISTED.files(tmp_path))
    else:
        assert len(LISTED.split(tmp_path, "train").names) == TOTALS["train_images"]


def test_the_seeded_partition_needs_no_lists(tmp_path, published):
    write(tmp_path / "sun397", published | {"a/abbey/._sun_adkqx.jpg": b"?", "a/abbey/notes.txt": b"?"})
    splits = {split: SEEDED.split(tmp_path, split) for split in ("train", "test")}
    train, test = splits["train"], splits["test"]
    assert (len(train.names), len(test.names)) == (TOTALS["train_images"], TOTALS["test_images"])
    assert not {*train.names} & {*test.names}
    for part in splits.values():
        assert list(part.labels) == sorted(part.labels) and len({*part.names}) == len(part.names)
        shares = np.bincount(part.labels, minlength=397) - len(part.labels) / SIZES.sum() * SIZES
        assert np.abs(shares).max() <= 1  # each class in proportion
    check_pictures(*SEEDED.load(tmp_path, "test"))
    again = replace(SEEDED, side=4).split(tmp_path, "train")
    assert again.names == train.names


def test_the_partitions_have_different_keys(tmp_path, store, published, lists):
    write(tmp_path / "SUN397", published)
    assert dataset_key(LISTED, tmp_path, store) == "absent:sun397"
    write(tmp_path, lists)
    assert dataset_key(LISTED, tmp_path, store) != dataset_key(SEEDED, tmp_path, store)


def test_files_that_are_no_jpeg_are_read_and_told_of(tmp_path, published, lists):
    from prunebench_plugins.datasets.io.decoding import decoded

    write(tmp_path / "SUN397", published)
    write(tmp_path, lists)
    part = LISTED.split(tmp_path, "train")
    odd = decoded(part.tree, part.files, root=tmp_path, side=8).odd
    assert len(odd) == 40 and all("in spite of its name" in text for text in odd)


# The archive


def pack(path, files, prefix="SUN397/"):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_the_archive_is_unpacked_by_fetch_alone(tmp_path, published):
    path = tmp_path / "SUN397.tar.gz"
    pack(path, published)
    assert f"({path} is not unpacked yet; " in line(lambda: SEEDED.load(tmp_path, "train"))
    SEEDED.fetch(tmp_path)
    check_pictures(*SEEDED.load(tmp_path, "test"))


def test_a_fetched_archive_without_lists_says_what_is_missing(tmp_path, published):
    pack(tmp_path / "SUN397.tar.gz", published)
    for _ in range(2):  # the second time, the folder is there
        message = line(lambda: LISTED.fetch(tmp_path))
        assert message == (
            f"sun397 is incomplete: its images are in {tmp_path}/SUN397, but the list sun397_tfds_tr.txt "
            f"is not in {tmp_path}; docs/datasets.md says how to get it from the Python package "
            "tensorflow-datasets, and sun397_seeded needs no list"
        )


def test_a_page_in_place_of_the_archive(tmp_path):
    path = tmp_path / "SUN397.tar.gz"
    path.write_bytes(b"<!DOCTYPE html><html>404</html>")
    reason = "it begins with b'<!DOCTYPE html><'"
    message = line(lambda: LISTED.fetch(tmp_path))
    assert message == f"{path} is not a whole archive: {reason}. Delete it and get it again."
    assert below(tmp_path) == {path.name}


def test_an_archive_with_paths_that_lead_out(tmp_path, published):
    root = tmp_path / "data"
    root.mkdir()
    pack(root / "SUN397.tar.gz", published | {"../../evil": b"!"})
    assert "it holds 'SUN397/../../evil', which leads out of it" in line(lambda: SEEDED.fetch(root))
    assert below(tmp_path) == {"data", "data/SUN397.tar.gz"}


def test_absent_says_where_to_put_what(tmp_path):
    for dataset in (LISTED, SEEDED):
        with pytest.raises(DataAbsentError) as absent:
            dataset.fetch(tmp_path)
        assert str(absent.value) == (
            f"{dataset.name} is not on this machine: put SUN397.tar.gz, packed or unpacked, into {tmp_path}; "
            "its server is gone, see docs/datasets.md"
        )


def test_the_digest_is_that_of_torchvision():
    places = find_spec("torchvision").submodule_search_locations
    source = (Path(places[0]) / "datasets/sun397.py").read_text()
    assert f'"{LISTED.archives[0].digest}"' in source


# What is wrong


def test_a_missing_class_folder(tmp_path, published, lists):
    root = tmp_path / "SUN397"
    write(root, {name: data for name, data in published.items() if "/abbey/" not in name})
    write(tmp_path, lists)
    assert line(lambda: LISTED.load(tmp_path, "train")) == (
        f"{root} lacks 3 of the {TOTALS['train_images']} images that sun397_tfds_tr.txt names, such as "
        f"{path_of(0, 2)}. Get it again."
    )
    assert line(lambda: SEEDED.load(tmp_path, "train")) == (
        f"{root} has {TOTALS['images'] - 5} images, expected {TOTALS['images']} of 397 classes; 1 differ, "
        "such as 'abbey' with 0. Get it again."
    )
    for letter in ("a", "y"):
        for path in sorted((root / letter).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (root / letter).rmdir()
        reason = f"({root} has no {'a' if letter == 'a' else 'a, y'})"
        assert line(lambda: SEEDED.files(tmp_path)).startswith(
            f"sun397_seeded is not on this machine {reason}: put "
        )


def test_too_few_images(tmp_path, published):
    write(tmp_path / "SUN397", published)
    (tmp_path / "SUN397" / path_of(8, 0)).unlink()
    message = line(lambda: SEEDED.load(tmp_path, "test"))
    assert (
        f"has {TOTALS['images'] - 1} images, expected {TOTALS['images']} of 397 classes; 1 differ" in message
    )
    assert "expected 108754 of 397 classes; 397 differ" in line(
        lambda: VALUES["sun397_seeded"].load(tmp_path, "test")
    )


def test_a_class_that_does_not_belong(tmp_path, published):
    root = tmp_path / "SUN397"
    write(root, published | {"a/attic/indoor/sun_x.jpg": b"?"})
    message = line(lambda: SEEDED.load(tmp_path, "train"))
    assert message == f"{root} has 'a/attic/indoor/sun_x.jpg', of no class of SUN397. Get it again."


def test_the_lists_have_to_be_the_published_ones(tmp_path, published, lists):
    write(tmp_path / "SUN397", published)
    write(tmp_path, lists)
    digest = hashlib.sha256(lists["sun397_tfds_te.txt"]).hexdigest()
    message = line(lambda: replace(LISTED, verify=True).load(tmp_path, "test"))
    assert message == (
        f"{tmp_path}/sun397_tfds_te.txt is not the published file: its sha256 is {digest}, expected "
        f"{LISTS['test'][1]}. Get it again."
    )


@pytest.mark.parametrize(
    "text, reason",
    [
        (b"<html>404</html>", "has '<html>404</html>', of no class of SUN397"),
        (b"", "has 396 images, expected 397 of 397 classes; 1 differ, such as 'youth_hostel' with 0"),
    ],
)
def test_a_list_of_something_else(tmp_path, published, lists, text, reason):
    write(tmp_path / "SUN397", published)
    name = "sun397_tfds_te.txt"
    write(tmp_path, lists | {name: b"".join([*lists[name].splitlines(True)[:-1], text])})
    message = line(lambda: LISTED.load(tmp_path, "test"))
    assert message == f"{tmp_path / name} {reason}. Get it again."


# The real dataset


def test_registered():
    real, seeded = VALUES["sun397"], VALUES["sun397_seeded"]
    assert real == Sun397() and seeded == Sun397(name="sun397_seeded", partition="seeded")
    assert (real.train_images, real.test_images, real.images) == (76_128, 21_750, 108_754)
    assert (real.lineage, seeded.lineage) == (("sun397",), ("sun397_seeded", "sun397"))
    assert len(set(CLASSES)) == 397 and sorted(CLASSES) == list(CLASSES)
    assert (CLASSES[0], CLASSES[4], CLASSES[-1]) == ("abbey", "amphitheater", "youth_hostel")
    assert "apse/indoor" in CLASSES
    assert line(lambda: Sun397(partition="70/30")).startswith(
        "sun397.partition is '70/30', expected 'tfds' or "
    )


def test_a_complete_folder_has_the_first_letter_of_each_class():
    assert Sun397.needed == tuple(sorted({name[0] for name in CLASSES}))


def test_the_seeded_partition_at_full_size():
    """As many images of each class as there may be; only their total is known to be right."""
    sizes = np.full(397, 273)
    sizes[: 108_754 - 397 * 273] += 1
    labels = np.repeat(np.arange(397), sizes)
    drawn = Sun397()._draw(labels)
    again = Sun397()._draw(labels)
    assert {split: len(index) for split, index in drawn.items()} == {"train": 76_128, "test": 21_750}
    assert len(np.unique(np.concatenate([*drawn.values()]))) == 76_128 + 21_750
    for split, index in drawn.items():
        np.testing.assert_array_equal(index, again[split])


def test_label_budget():
    """Drawn uniformly; the published run annotated 19 of each class, 7543."""
    truth = np.arange(76_128) % 397
    draws = [draw_labels(truth, 0.1, "uniform", stream("known", repeat)) for repeat in (0, 0, 1)]
    assert len(draws[0]) == 7612
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    assert len(draw_labels(truth, 0.1, "class_balanced", stream("known", 0))) == 7543
