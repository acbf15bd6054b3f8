"""Tiny-ImageNet on a miniature of all its classes in the published layout, and its views at full size."""

from __future__ import annotations

import io
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from prunebench.errors import DataAbsentError
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.store import Store
from prunebench_plugins.datasets import register_datasets
from prunebench_plugins.datasets.class_names import class_table
from prunebench_plugins.datasets.io import decoding_bar
from prunebench_plugins.datasets.tiny_imagenet import TinyImageNet
from prunebench_plugins.datasets.views import corrupted
from prunebench_plugins.datasets.views.corrupted import Corrupted, corruption_of
from tests.messages import line

VALUES = {d.name: d for d in register_datasets() if not isinstance(d, type)}
WNIDS = list(class_table("tiny_imagenet"))
TINY = TinyImageNet(train_per_class=3, test_per_class=1)


def jpeg(picture):
    """The bytes of a JPEG of uint8 [h, w] or [h, w, 3], or of an image."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, "JPEG")
    return file.getvalue()


def pixels(content):
    """What Pillow makes of a JPEG: uint8 [3, h, w]."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)


def plain(shade, side=64):
    return jpeg(np.full((side, side, 3), shade, np.uint8))


@pytest.fixture(scope="module")
def published():
    """The files of the archive by name: three training images of each class, one to test, one of test/."""
    rng, files = np.random.default_rng(0), {}
    noise = [jpeg(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(8)]
    for c, wnid in enumerate(WNIDS):
        for i, number in enumerate((2, 0, 10)):
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = plain(c) if i else noise[c % 8]
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"boxes"
    annotations = []
    for i, c in enumerate(rng.permutation(200)):
        files[f"val/images/val_{i}.JPEG"] = plain(c)
        annotations.append(f"val_{i}.JPEG\t{WNIDS[c]}\t0\t32\t44\t62\n")
    files["val/val_annotations.txt"] = "".join(annotations).encode()
    files |= {"wnids.txt": b"", "words.txt": b"", "test/images/test_0.JPEG": plain(0)}
    return files


@pytest.fixture(scope="module")
def key(published, tmp_path_factory):
    """The key of the miniature as published."""
    root = tmp_path_factory.mktemp("published")
    write(root / "tiny-imagenet-200", published)
    found = dataset_key(TINY, root, Store(root / "store"))
    assert len(found) == 64
    return found


LEFT_BEHIND = (".ipynb_checkpoints", "n01443537/.ipynb_checkpoints", "__MACOSX", "n01443537/images/@eaDir")
ANNOTATIONS = "val/val_annotations.txt"


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pack(path, files, prefix="tiny-imagenet-200/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)


def check(root, files):
    """The images in the order of ImageFolder: by class, then file name as text; labels by WordNet ID."""
    names = sorted(name for name in files if name.startswith("train/") and name.endswith(".JPEG"))
    images, labels = TINY.load(root, "train")
    assert (images.shape, images.dtype, labels.dtype) == ((600, 3, 64, 64), np.uint8, np.int64)
    np.testing.assert_array_equal(images, [pixels(files[name]) for name in names])
    np.testing.assert_array_equal(labels, np.repeat(np.arange(200), 3))
    assert TINY.names(root) == tuple(f"{n.split('/')[1]}/{n.split('/')[-1]}" for n in names)
    images, labels = TINY.load(root, "test")
    np.testing.assert_array_equal(labels, np.arange(200))
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(200))  # each shows its class as its shade


# Reading


def test_the_published_folder(tmp_path, published):
    write(tmp_path / "tiny-imagenet-200", published)
    check(tmp_path, published)
    names = TINY.names(tmp_path)
    assert names[:3] == tuple(f"n01443537/n01443537_{i}.JPEG" for i in (0, 10, 2))
    files = TINY.files(tmp_path)
    assert len(files) == 600 + 200 + 200 + 1 and files[0].name == "val_annotations.txt"
    assert len(set(files)) == len(files) and all(path.is_file() for path in files)


def test_a_bar_is_shown_on_a_terminal(tmp_path, published, monkeypatch):
    write(tmp_path / "tiny-imagenet-200", published)
    made, real = [], decoding_bar._progress
    monkeypatch.setattr(decoding_bar, "DELAY_SECONDS", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(decoding_bar, "_progress", lambda: made.append(real()) or made[-1])
    TINY.load(tmp_path, "train")
    [bar] = made
    [task] = bar.tasks
    assert (task.description, task.completed, task.total) == (
        f"decoding {tmp_path / 'tiny-imagenet-200' / 'train'}",
        600,
        600,
    )


@pytest.mark.parametrize(
    "prefix", ["tiny-imagenet-200/", "", "a/tiny-imagenet-200/", "../../tiny-imagenet-200/", "/tmp/x/"]
)
def test_the_archive_is_read_in_place(tmp_path, published, prefix):
    path = tmp_path / "tiny-imagenet-200.zip"
    clutter = {"__MACOSX/tiny-imagenet-200/train/n01443537/images/._n01443537_0.JPEG": b"?"}
    pack(path, published, prefix)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in clutter.items():
            archive.writestr(name, content)
    check(tmp_path, published)
    assert list(tmp_path.iterdir()) == TINY.files(tmp_path) == [path]


def rearranged(files, inner, keep_images=False):
    """Put the validation images into folders per class, as scripts for ImageFolder do."""
    lines = files["val/val_annotations.txt"].decode().splitlines()
    moved = {name: c for name, c in files.items() if keep_images or not name.startswith("val/")}
    for file, wnid in (text.split("\t")[:2] for text in lines):
        moved[f"val/{wnid}/{inner}{file}"] = files[f"val/images/{file}"]
    return moved


def flat(files):
    return {name.replace("/images/", "/") if "train" in name else name: c for name, c in files.items()}


@pytest.mark.parametrize(
    "form",
    [
        lambda files: rearranged(files, ""),
        lambda files: rearranged(files, "images/"),
        lambda files: rearranged(files, "", keep_images=True),
        flat,
        lambda files: flat(rearranged(files, "")),
        lambda files: {name: c for name, c in rearranged(files, "").items() if not name.endswith(".txt")},
        lambda files: files | {"train/.DS_Store": b"?", "train/n01443537/images/._n01443537_0.JPEG": b"?"},
        lambda files: files | {f"train/{place}/n01443537_0.JPEG": plain(9) for place in LEFT_BEHIND},
        lambda files: files | {ANNOTATIONS: b"\xef\xbb\xbf" + files[ANNOTATIONS].replace(b"\n", b"\r\n")},
    ],
)
def test_other_arrangements_are_the_same_dataset(tmp_path, store, published, key, form):
    write(tmp_path / "tiny_imagenet", form(published))
    check(tmp_path, published)
    assert dataset_key(TINY, tmp_path, store) == key


def test_the_key_does_not_depend_on_unpacking_and_follows_every_image(tmp_path, store, published, key):
    pack(tmp_path / "a/tiny-imagenet-200.zip", published)
    write(tmp_path / "b/tiny-imagenet-200", published | {"val/images/val_7.JPEG": plain(99)})
    assert dataset_key(TINY, tmp_path / "a", store) == key != dataset_key(TINY, tmp_path / "b", store)


def test_gray_and_cmyk_images_become_rgb(tmp_path, published):
    gray = jpeg(np.arange(4096, dtype=np.uint8).reshape(64, 64))
    cmyk = jpeg(Image.new("CMYK", (64, 64), (10, 200, 0, 30)))
    name = "train/n01443537/images/n01443537_{}.JPEG".format
    write(tmp_path / "tiny-imagenet-200", published | {name(0): gray, name(10): cmyk})
    images, _ = TINY.load(tmp_path, "train")
    np.testing.assert_array_equal(images[0], pixels(gray))
    assert (images[0] == images[0, :1]).all() and np.ptp(images[0]) > 200
    np.testing.assert_array_equal(images[1], pixels(cmyk))


def test_folders_are_looked_for_in_order_and_archives_come_last(tmp_path, published):
    for archive in ("tiny_imagenet/tiny-imagenet-200.zip", "tiny-imagenet-200.zip"):
        pack(tmp_path / archive, published)
        assert TINY.files(tmp_path) == [tmp_path / archive]
    top = "tiny-imagenet-200"
    for folder in (f"{top}/{top}", f"tiny_imagenet/{top}", top, "tiny_imagenet"):
        for part in ("train", "val"):
            (tmp_path / folder / part).mkdir(parents=True)
        (tmp_path / folder / "val/x").touch()
        assert TINY.files(tmp_path) == [tmp_path / folder / "val/x"]


# What is not there


def test_absent_says_where_to_put_what(tmp_path):
    remedy = (
        f"put tiny-imagenet-200.zip, packed or unpacked, into {tmp_path}; "
        "it was published at http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    )
    for action in (TINY.files, TINY.fetch, TINY.names, VALUES["tiny_imagenet_c"].fetch):
        with pytest.raises(DataAbsentError) as absent:
            action(tmp_path)
        assert str(absent.value) == f"tiny_imagenet is not on this machine: {remedy}"
    (tmp_path / "tiny-imagenet-200/train").mkdir(parents=True)
    with pytest.raises(DataAbsentError) as absent:
        TINY.load(tmp_path, "train")
    reason = f"({tmp_path}/tiny-imagenet-200 has no val)"
    assert str(absent.value) == f"tiny_imagenet is not on this machine {reason}: {remedy}"


# What is damaged


def test_bad_images_are_listed_before_anything_else(tmp_path, published):
    name = "train/n12267677/images/n12267677_{}.JPEG".format
    png = io.BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    bad = {name(0): b"<html>", name(10): published[name(10)][:300], name(2): plain(0, side=32)}
    write(tmp_path / "tiny-imagenet-200", published | bad)
    where = f"{tmp_path}/tiny-imagenet-200/train"
    wanted = f"of the 600 images in {where} are not JPEG images of 64 x 64 pixels"
    assert line(lambda: TINY.load(tmp_path, "train")) == (
        f"3 {wanted}: {name(0)} (not readable), {name(10)} (not readable), {name(2)} (32 x 32 pixels). "
        "Get them again."
    )
    more = {f"train/{wnid}/images/{wnid}_0.JPEG": png.getvalue() for wnid in WNIDS[:4]}
    write(tmp_path / "tiny-imagenet-200", more)
    message = line(lambda: TINY.load(tmp_path, "train"))
    assert message.startswith(f"7 {wanted}: {next(iter(more))} (not readable), ")
    assert message.endswith(f"{name(0)} (not readable) and 2 more. Get them again.")
    assert TINY.load(tmp_path, "test")[1].tolist() == list(range(200))


def test_an_image_that_is_cut_short_is_bad_whatever_a_script_set(tmp_path, published, monkeypatch):
    name = "train/n01443537/images/n01443537_2.JPEG"
    write(tmp_path / "tiny-imagenet-200", published | {name: published[name][:-400]})
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert f": {name} (not readable). " in line(lambda: TINY.load(tmp_path, "train"))


def test_wrong_counts(tmp_path, published):
    root = tmp_path / "tiny-imagenet-200"
    write(root, published | {"train/n01629819/images/extra.jpg": plain(3)})
    start = f"{root}/train has 601 images, expected 3 of each of 200 classes; "
    end = "1 differ, such as 'European fire salamander' with 4. Get it again."
    assert line(lambda: TINY.load(tmp_path, "train")) == start + end
    assert line(lambda: TinyImageNet().load(tmp_path, "test")) == (
        f"{root}/val has 200 images, expected 50 of each of 200 classes; 200 differ, "
        "such as 'goldfish' with 1. Get it again."
    )


def test_a_missing_class_folder(tmp_path, published):
    root = tmp_path / "tiny-imagenet-200"
    write(root, {name: c for name, c in published.items() if "train/n12267677" not in name})
    message = line(lambda: TINY.load(tmp_path, "train"))
    assert message.startswith(f"{root}/train has 597 images, expected 3 of each of 200 classes; ")
    assert message.endswith("1 differ, such as 'acorn' with 0. Get it again.")


def test_a_class_that_does_not_belong(tmp_path, published):
    """As in copies that somebody extended, or in a folder of another dataset."""
    root = tmp_path / "tiny-imagenet-200"
    strange = [f"train/n02480855/images/n02480855_{n}.JPEG" for n in range(2)]
    strange.append("train/n10148035/images/n10148035_0.JPEG")
    write(root, published | dict.fromkeys(strange, plain(0)))
    message = line(lambda: TINY.load(tmp_path, "train"))
    assert message == (
        f"{root}/train has images of 2 class(es) that Tiny-ImageNet does not have: n02480855, n10148035. "
        "Remove these 3 image(s), or get the published copy."
    )


def test_validation_images_need_their_annotations(tmp_path, published):
    root = tmp_path / "tiny-imagenet-200"
    write(root, published)
    annotations = root / "val/val_annotations.txt"
    annotations.write_bytes(b"\n".join(annotations.read_bytes().splitlines()[:-1]))
    message = line(lambda: TINY.load(tmp_path, "test"))
    assert message == f"{annotations} gives no class for val_199.JPEG. Get it again."
    annotations.unlink()
    message = line(lambda: TINY.load(tmp_path, "test"))
    assert message == f"{annotations} is missing: val/images has no labels without it."


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>404</html>", b"PK\x03\x04", b""])
def test_a_page_in_place_of_the_archive(tmp_path, content):
    path = tmp_path / "tiny-imagenet-200.zip"
    path.write_bytes(content)
    message = line(lambda: TINY.load(tmp_path, "train"))
    reason = "File is not a zip file" if content[:2] == b"PK" else f"it begins with {content[:16]!r}"
    assert message == f"{path} is not a whole archive: {reason}. Delete it and get it again."


def test_a_truncated_archive(tmp_path, published):
    path = tmp_path / "tiny-imagenet-200.zip"
    pack(path, published)
    path.write_bytes(path.read_bytes()[:-1000])
    message = line(lambda: TINY.load(tmp_path, "train"))
    assert message.startswith(f"{path} is not a whole archive: ") and "it begins with" not in message


def test_an_archive_of_something_else(tmp_path, published):
    path = tmp_path / "tiny-imagenet-200.zip"
    pack(path, {name: c for name, c in published.items() if name.startswith("train/")})
    message = line(lambda: TINY.load(tmp_path, "test"))
    assert message == f"{path} holds no folder val. Delete it and get it again."


def test_damaged_members_of_the_archive_are_listed(tmp_path, published):
    path, name = tmp_path / "tiny-imagenet-200.zip", "train/n01443537/images/n01443537_2.JPEG"
    pack(path, published)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"tiny-imagenet-200/{name}").header_offset
    content = bytearray(path.read_bytes())
    content[start + 400 : start + 450] = bytes(50)
    path.write_bytes(content)
    message = line(lambda: TINY.load(tmp_path, "train"))
    assert message.startswith("1 of the 600 images in ") and f": {name} (not readable). Get" in message


# Classes and views


def test_classes():
    assert len(WNIDS) == len(set(TINY.classes)) == 200 and sorted(WNIDS) == WNIDS
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in WNIDS)
    assert all(name == name.strip() for name in TINY.classes)
    assert (TINY.classes[0], TINY.classes[32], TINY.classes[-1]) == ("goldfish", "Egyptian cat", "acorn")
    assert not {"n02480855", "n10148035"} & set(WNIDS)  # which some copies have added


def test_names_are_the_first_words_of_wordnet():
    places = find_spec("timm").submodule_search_locations  # importing it would take long
    table = Path(places[0]) / "data/_info/imagenet_synset_to_lemma.txt"
    words = dict(text.split("\t") for text in table.read_text().splitlines())
    assert {wnid: words[wnid].split(",")[0] for wnid in WNIDS} == class_table("tiny_imagenet")


def test_registered():
    found = {name: type(d) for name, d in VALUES.items() if name.startswith("tiny")}
    assert found == {
        "tiny_imagenet": TinyImageNet,
        "tiny_imagenet_c": Corrupted,
        "tiny_imagenet_c_fixed": Corrupted,
    }
    assert (VALUES["tiny_imagenet_c"].variant, VALUES["tiny_imagenet_c_fixed"].variant) == (
        "reference",
        "fixed",
    )
    for name in ("tiny_imagenet_c", "tiny_imagenet_c_fixed"):
        assert VALUES[name].base == TinyImageNet() and VALUES[name].lineage == (name, "tiny_imagenet")
    real = VALUES["tiny_imagenet"]
    assert (real.train_per_class * 200, real.test_per_class * 200) == (100_000, 10_000)
    assert real.resolution == 64
    assert (real.mean, real.std) == ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))


def test_six_thousand_images_of_each_corruption():
    assert np.bincount(corruption_of(100_000)).tolist() == [70_000, *[6000] * 5]


@pytest.mark.parametrize("view", ["tiny_imagenet_c", "tiny_imagenet_c_fixed"])
def test_a_view_of_the_miniature(tmp_path, published, view):
    write(tmp_path / "tiny-imagenet-200", published)
    small = Corrupted(**{**vars(VALUES[view]), "base": TINY})
    (clean, labels), (images, same) = TINY.load(tmp_path, "train"), small.load(tmp_path, "train")
    np.testing.assert_array_equal(labels, same)
    assert small.names(tmp_path) == TINY.names(tmp_path)
    kinds = corruption_of(600)
    np.testing.assert_array_equal(images[kinds == 0], clean[kinds == 0])
    assert (images[kinds == 4][:, :, 5:46, 5:46] == 0).all()  # the black box is 41 pixels wide
    outside = np.ones((64, 64), bool)
    outside[5:46, 5:46] = False
    np.testing.assert_array_equal(images[kinds == 4][..., outside], clean[kinds == 4][..., outside])
    np.testing.assert_array_equal(small.load(tmp_path, "test")[0], TINY.load(tmp_path, "test")[0])


@pytest.mark.parametrize("variant", ["reference", "fixed"])
def test_corrupting_a_few_images_at_a_time_changes_nothing(monkeypatch, variant):
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 64, 64), dtype=np.uint8)
    view, results = Corrupted(name="c", base=TINY, variant=variant), []
    for size in (1000, 5):  # of the 12 images of each corruption
        monkeypatch.setattr(corrupted, "CHUNK_SIZE", size)
        results.append(view.alter(images, np.zeros(200))[0])
    np.testing.assert_array_equal(*results)
