"""ImageNet-1K on a miniature of all its classes, in the layouts in which people have it."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from prunebench.errors import DataAbsentError
from prunebench.parts.sampling import draw_labels
from prunebench.parts.seeds import stream
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets import register_datasets
from prunebench_plugins.datasets.class_names import class_table
from prunebench_plugins.datasets.imagenet1k import ImageNet1k
from tests.messages import line

VALUES = {d.name: d for d in register_datasets() if not isinstance(d, type)}
IMAGENET = class_table("imagenet1k")
WNIDS = list(IMAGENET)
SIZES = 1 + np.arange(1000) % 3 // 2  # one or two training images of each class, one to test
SMALL = ImageNet1k(train_images=int(SIZES.sum()), class_sizes=(1, 2), test_per_class=1, side=8)
KIT = "ILSVRC2012_devkit_t12"


def encoded(c, kind="JPEG", mode="RGB"):
    """A picture that shows the number of its class, in steps of four and of eight."""
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (c // 4, 0, 60 * (c % 4))).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def training():
    """train/WNID/WNID_NUMBER.JPEG, of which one is a PNG and one in CMYK, as in the published files."""
    files = {
        f"train/{wnid}/{wnid}_{number}.JPEG": encoded(c)
        for c, wnid in enumerate(WNIDS)
        for number in (18, 9)[: SIZES[c]]
    }
    files["train/n02105855/n02105855_18.JPEG"] = encoded(WNIDS.index("n02105855"), "PNG")
    files["train/n01739381/n01739381_18.JPEG"] = encoded(WNIDS.index("n01739381"), mode="CMYK")
    return files


@pytest.fixture(scope="module")
def validation():
    """WordNet ID and bytes of each validation image, by file name."""
    order = np.random.default_rng(0).permutation(1000)
    return {f"ILSVRC2012_val_{i:08d}.JPEG": (WNIDS[c], encoded(c)) for i, c in enumerate(order, 1)}


def sorted_out(validation):
    return {f"val/{wnid}/{name}": data for name, (wnid, data) in validation.items()}


def flat(validation):
    return {f"val/{name}": data for name, (_, data) in validation.items()}


@pytest.fixture(scope="module")
def kit(validation):
    """The files of the development kit that count: its own numbers of the classes, and a table of them."""
    numbers = dict(zip(np.random.default_rng(1).permutation(WNIDS).tolist(), range(1, 1001), strict=True))
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    fields += [("children", "O"), ("wordnet_height", "O"), ("num_train_images", "O")]
    rows = [(n, wnid, IMAGENET[wnid], "a thing", 0, np.array([]), 0, 1300) for wnid, n in numbers.items()]
    rows += [(1001, "n00001740", "entity", "that which is", 2, np.array([1, 2]), 9, 0)]
    file = io.BytesIO()
    savemat(file, {"synsets": np.array(rows, dtype=fields)[:, None]})
    truth = "".join(f"{numbers[wnid]}\n" for wnid, _ in validation.values())
    files = {"ILSVRC2012_validation_ground_truth.txt": truth.encode(), "meta.mat": file.getvalue()}
    return {f"{KIT}/data/{name}": data for name, data in files.items()}


@pytest.fixture(scope="module")
def solution(validation):
    """Kaggle's table of validation images, with boxes."""
    rows = [f"{name.removesuffix('.JPEG')},{wnid} 85 1 499 272 " for name, (wnid, _) in validation.items()]
    return {"LOC_val_solution.csv": "\n".join(["ImageId,PredictionString", *reversed(rows)]).encode()}


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def packed(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def check(root):
    """Images by WordNet ID, then file name as text; each shows its class."""
    wanted = {"train": np.repeat(np.arange(1000), SIZES), "test": np.arange(1000)}
    for split, expected in wanted.items():
        images, labels = SMALL.load(root, split)
        assert (images.shape, images.dtype, labels.dtype) == ((len(labels), 3, 8, 8), np.uint8, np.int64)
        np.testing.assert_array_equal(labels, expected)
        shown = 4 * images[:, 0, 4, 4].astype(int) + np.rint(images[:, 2, 4, 4] / 60).astype(int)
        assert np.abs(shown - labels).max() <= 12  # JPEG is not exact
        assert (np.rint(images[:, 2, 4, 4] / 60) == labels % 4).all()
    assert SMALL.names(root)[:4] == (
        *("n01440764/n01440764_18.JPEG", "n01443537/n01443537_18.JPEG"),
        *("n01484850/n01484850_18.JPEG", "n01484850/n01484850_9.JPEG"),
    )
    paths = SMALL.paths(root)
    assert all(path.is_file() for path in paths)
    assert ["/".join(path.parts[-2:]) for path in paths] == list(SMALL.names(root))


# Reading


def test_folders_of_classes(tmp_path, training, validation):
    clutter = {"val/n01440764/._x.JPEG": b"?", ".DS_Store": b"?", "test/ILSVRC2012_test_1.JPEG": b"?"}
    for place in ("train/.ipynb_checkpoints", "val/n01440764/.ipynb_checkpoints", "val/__MACOSX"):
        clutter[f"{place}/x.JPEG"] = encoded(9)
    write(tmp_path / "imagenet1k", training | sorted_out(validation) | clutter)
    check(tmp_path)


def test_the_order_of_the_folders(tmp_path):
    inner = "ILSVRC/Data/CLS-LOC"
    for folder in (f"imagenet/{inner}", f"imagenet1k/{inner}", inner, "ILSVRC2012", "imagenet", "imagenet1k"):
        write(tmp_path / folder, {"train/x": b"", "val/x": b""})
        assert SMALL.folder(tmp_path) == tmp_path / folder


@pytest.mark.parametrize(("form", "place"), [("kit", "."), ("packed kit", "imagenet1k")])
def test_validation_images_as_published_with_the_development_kit(
    tmp_path, training, validation, kit, place, form
):
    write(tmp_path / "imagenet1k", training | flat(validation))
    if form == "kit":
        write(tmp_path / place, kit)
    else:
        packed(tmp_path / place / f"{KIT}.tar.gz", kit | {f"{KIT}/readme.txt": b"?"})
    check(tmp_path)


@pytest.mark.parametrize("top", [".", "imagenet"])
def test_the_layout_of_kaggle(tmp_path, training, validation, solution, top):
    write(tmp_path / top / "ILSVRC/Data/CLS-LOC", training | flat(validation))
    write(tmp_path / top, solution)
    check(tmp_path)


def named(validation):
    """As some copies call them: ILSVRC2012_val_00000001_n01751748.JPEG."""
    pairs = ((name.removesuffix(".JPEG"), *found) for name, found in validation.items())
    return {f"val/{name}_{wnid}.JPEG": data for name, wnid, data in pairs}


def test_validation_images_whose_names_say_their_class_need_no_list(tmp_path, training, validation, solution):
    write(tmp_path / "imagenet1k", training | named(validation))
    check(tmp_path)
    write(tmp_path / "imagenet1k", solution)  # nor does one do harm
    check(tmp_path)


def test_of_some_the_name_says_the_class_and_of_some_a_list(tmp_path, training, validation, solution):
    some = dict(list(validation.items())[:500])
    others = {name: data for name, data in validation.items() if name not in some}
    write(tmp_path / "imagenet1k", training | named(some) | flat(others) | solution)
    check(tmp_path)


@pytest.mark.parametrize(
    "save",
    [
        lambda text: f"\ufeff{text}".encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
    ],
)
def test_kaggles_table_may_have_been_saved_by_a_spreadsheet(tmp_path, training, validation, solution, save):
    table = {name: save(content.decode()) for name, content in solution.items()}
    write(tmp_path / "imagenet1k", training | flat(validation) | table)
    check(tmp_path)


def test_all_layouts_are_one_dataset(tmp_path, store, training, validation, kit, solution):
    write(tmp_path / "a/imagenet1k", training | sorted_out(validation))
    write(tmp_path / "b/imagenet1k", training | flat(validation) | kit)
    write(tmp_path / "c/ILSVRC/Data/CLS-LOC", training | flat(validation))
    write(tmp_path / "c", solution)
    other = {**training, "train/n01440764/n01440764_18.JPEG": encoded(999)}
    write(tmp_path / "d/imagenet1k", training | named(validation))
    write(tmp_path / "e/imagenet1k", other | sorted_out(validation))
    keys = [dataset_key(SMALL, tmp_path / root, store) for root in "abcde"]
    assert len(set(keys[:4])) == 1 and keys[4] not in keys[:4]


def test_files_names_folders_rather_than_a_million_images(tmp_path, training, validation, kit):
    write(tmp_path / "imagenet1k", training | flat(validation) | kit)
    files = SMALL.files(tmp_path)
    assert [path.name for path in files[:3]] == ["train", "val", "n01440764"]
    assert len(set(files)) == len(files) == 2 + 1000 + 1 and all(path.exists() for path in files)


def test_a_new_image_is_noticed_though_no_image_is_asked_for(tmp_path, store, training, validation):
    write(tmp_path / "imagenet1k", training | sorted_out(validation))
    key = dataset_key(SMALL, tmp_path, store)
    assert dataset_key(SMALL, tmp_path, store) == key
    write(tmp_path / "imagenet1k/train/n01440764", {"new.JPEG": encoded(0)})
    assert f"train has {SIZES.sum() + 1} images" in line(lambda: dataset_key(SMALL, tmp_path, store))


# What is wrong


def test_absent_says_where_to_put_what(tmp_path):
    remedy = (
        f"put its folders train and val into {tmp_path}/imagenet1k; after registration they are at "
        "https://image-net.org and at Kaggle, and docs/datasets.md says how to unpack them"
    )
    with pytest.raises(DataAbsentError) as absent:
        SMALL.fetch(tmp_path)
    assert str(absent.value) == f"imagenet1k is not on this machine: {remedy}"
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    reason = f"({tmp_path}/ILSVRC2012_img_val.tar has to be unpacked)"
    assert line(lambda: SMALL.fetch(tmp_path)) == f"imagenet1k is not on this machine {reason}: {remedy}"
    (tmp_path / "imagenet/train").mkdir(parents=True)
    reason = f"({tmp_path}/imagenet has no val)"
    assert line(lambda: SMALL.fetch(tmp_path)) == f"imagenet1k is not on this machine {reason}: {remedy}"


def test_a_missing_class_folder(tmp_path, training, validation):
    root = tmp_path / "imagenet1k"
    write(root, {n: d for n, d in (training | sorted_out(validation)).items() if "n01443537" not in n})
    total = SIZES.sum()
    assert line(lambda: SMALL.load(tmp_path, "train")) == (
        f"{root}/train has {total - 1} images, expected {total} of 1000 classes; 1 differ, such as "
        "'goldfish' with 0. Get it again."
    )
    assert line(lambda: SMALL.load(tmp_path, "test")) == (
        f"{root}/val has 999 images, expected 1 of each of 1000 classes; 1 differ, such as 'goldfish' "
        "with 0. Get it again."
    )


def test_too_few_images(tmp_path, training, validation):
    """A class may have lost some that another has too many of, within what is known of its size."""
    root = tmp_path / "imagenet1k"
    write(root, training | sorted_out(validation))
    (root / "train/n01484850/n01484850_9.JPEG").unlink()
    total = SIZES.sum()
    assert line(lambda: SMALL.load(tmp_path, "train")) == (
        f"{root}/train has {total - 1} images, expected {total} of 1000 classes. Get it again."
    )
    assert "expected 1281167 of 1000 classes; 1000 differ" in line(
        lambda: replace(SMALL, train_images=1_281_167, class_sizes=(732, 1300)).load(tmp_path, "train")
    )


def test_a_class_that_does_not_belong(tmp_path, training, validation):
    """As in the whole of ImageNet."""
    root = tmp_path / "imagenet1k"
    write(root, training | sorted_out(validation) | {"train/n00007846/n00007846_1.JPEG": b"?"})
    message = line(lambda: SMALL.load(tmp_path, "train"))
    assert message == f"{root}/train has a class 'n00007846', which ImageNet-1K does not have. Get it again."


def test_validation_images_need_something_that_says_their_classes(tmp_path, training, validation, solution):
    root = tmp_path / "imagenet1k"
    write(root, training | flat(validation))
    assert line(lambda: SMALL.load(tmp_path, "test")) == (
        f"{root}/val has no class folders, and no file gives the classes of its images: put {KIT}.tar.gz "
        f"or LOC_val_solution.csv into {root}"
    )
    table = solution["LOC_val_solution.csv"].splitlines(keepends=True)
    write(root, {"LOC_val_solution.csv": b"".join(table[:-1])})
    assert line(lambda: SMALL.load(tmp_path, "test")) == (
        f"{root}/LOC_val_solution.csv gives no class for ILSVRC2012_val_00000001.JPEG. Get it again."
    )


@pytest.mark.parametrize(
    "name, data",
    [
        (f"{KIT}/data/meta.mat", b"<html>404</html>"),
        (f"{KIT}/data/meta.mat", b""),
        (f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt", b"<html>404</html>"),
        (f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt", b"1001001\n"),
    ],
)
def test_truth_that_cannot_be_read(tmp_path, training, validation, kit, name, data):
    root = tmp_path / "imagenet1k"
    write(root, training | flat(validation) | kit | {name: data})
    where = root / next(iter(kit))
    message = line(lambda: SMALL.load(tmp_path, "test"))
    assert message.startswith(f"{where} cannot be read: ") and message.endswith(". Get it again.")


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"<html>404</html>\n<p>\n", "needs one column 'ImageId' and has none; its first line is '<html>404"),
        (b"Id,PredictionString\na,b\n", "needs one column 'ImageId' and has none; its first line is 'Id,P"),
        (b"ImageId,PredictionString\nILSVRC2012_val_00000001\n", "has 1 entries in line 2, but 2 in its"),
        (b"ImageId,PredictionString\nILSVRC2012_val_00000001, \n", "names no class in line 2. Get it again"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_it_lacks(tmp_path, training, validation, data, reason):
    root = tmp_path / "imagenet1k"
    write(root, training | flat(validation) | {"LOC_val_solution.csv": data})
    message = line(lambda: SMALL.load(tmp_path, "test"))
    assert message.startswith(f"{root}/LOC_val_solution.csv {reason}")


def test_a_page_in_place_of_the_development_kit(tmp_path, training, validation):
    root = tmp_path / "imagenet1k"
    write(root, training | flat(validation) | {f"{KIT}.tar.gz": b"<!DOCTYPE html><html>404</html>"})
    message = line(lambda: SMALL.load(tmp_path, "test"))
    reason = "it begins with b'<!DOCTYPE html><'"
    assert message == f"{root}/{KIT}.tar.gz is not a whole archive: {reason}. Delete it and get it again."


# The real dataset


def test_registered():
    real = VALUES["imagenet1k"]
    assert real == ImageNet1k() and real.lineage == ("imagenet1k",)
    assert (real.train_images, real.class_sizes, real.test_per_class) == (1_281_167, (732, 1300), 50)
    assert real.resolution == 256
    assert len(IMAGENET) == len(set(real.classes)) == 1000 and sorted(IMAGENET) == WNIDS
    assert (real.classes[0], real.classes[1], real.classes[-1]) == ("tench", "goldfish", "toilet tissue")
    tiny = class_table("tiny_imagenet")
    assert {wnid: IMAGENET[wnid] for wnid in tiny} == tiny


def test_names_are_the_first_words_of_wordnet_in_the_order_of_torchvision():
    places = find_spec("timm").submodule_search_locations  # importing it would take long
    tables = Path(places[0]) / "data/_info"
    words = dict(
        text.split("\t") for text in (tables / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    )
    assert (tables / "imagenet_synsets.txt").read_text().split() == WNIDS
    first = {wnid: words[wnid].split(",")[0] for wnid in WNIDS}
    others = {wnid: name for wnid, name in IMAGENET.items() if name != first[wnid]}
    assert others == {"n02012849": "crane bird", "n03710721": "tank suit"}


def test_label_budget():
    truth = np.arange(1_281_167) % 1000
    draws = [draw_labels(truth, 0.1, "uniform", stream("known", repeat)) for repeat in (0, 0, 1)]
    assert len(draws[0]) == 128_116
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
