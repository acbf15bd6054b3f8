"""A folder of photos, the labels of a few, and which of them to label first."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.images import Chosen
from prunebench.parts.registry import load
from prunebench.photos import folder as photos
from prunebench.photos import prune as pruning
from prunebench.photos.drawing import DrawRequest
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench.pipeline.store import Store
from prunebench.system.files import write_new
from prunebench_plugins.datasets.io import decoding
from tests.photo_folders import listing, write_labels, write_photos


@pytest.fixture
def folder(tmp_path):
    write_photos(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def table(tmp_path):
    """table("file,label\\na.png,cat\\n") writes a .csv."""

    def written(text, name="labels.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


# The scan


def test_images_at_any_depth_are_found_in_the_order_of_their_names(tmp_path):
    for name in ("b.PNG", "a/z.jpg", "a/b/c.webp", "a.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for other in ("notes.txt", ".hidden.png", "a/.trash/x.png", "png"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).touch()
    (tmp_path / "folder.png").mkdir()
    assert photos.scan(tmp_path) == ["a.jpeg", "a/b/c.webp", "a/z.jpg", "b.PNG"]


def test_a_link_to_a_folder_is_passed_over_so_that_no_scan_goes_round_in_circles(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert photos.scan(tmp_path) == ["a.png", "b.png"]


def test_a_scan_opens_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    monkeypatch.setattr("builtins.open", None)
    assert photos.scan(tmp_path) == ["a.png"]


def test_no_folder_no_image_and_a_name_that_is_no_text_are_one_line(tmp_path):
    with pytest.raises(DataAbsentError, match=r"^there is no folder .*absent$"):
        photos.scan(tmp_path / "absent")
    with pytest.raises(DataAbsentError, match=r"holds no images \(.avif, .bmp, "):
        photos.scan(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(PrunebenchError, match=r"has 1 file\(s\) whose name is no UTF-8.*caf.*--on-bad skip"):
        photos.scan(tmp_path)


def test_heic_is_read_where_its_package_is(tmp_path):
    pytest.importorskip("pillow_heif")
    for name in ("a.HEIC", "b.heif", "c.avif", "d.jfif", "e.jpe", "f.jp2"):
        (tmp_path / name).touch()
    assert photos.survey(tmp_path).images == sorted(path.name for path in tmp_path.iterdir())


def test_what_may_be_a_photo_and_is_not_read_is_counted(tmp_path, without_heic):
    read, unread = ["a.png"], ["b.HEIC", "c.heic", "d.jxl", "e.NEF", "scan"]
    for name in (*read, *unread, "notes.txt", ".h.heic"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "again").symlink_to("more")
    found = photos.survey(tmp_path)
    assert found.images == read
    assert found.remark == (
        "passed over, as they are not read: 2 .heic, 1 .jxl, 1 .nef, 1 file(s) without an ending, "
        "1 link(s) to folders; `pip install pillow-heif` reads HEIC"
    )
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataAbsentError, match=r"holds no images \(.*\); passed over.*: 2 .heic"):
        photos.scan(tmp_path)


@pytest.mark.parametrize("name", ["__MACOSX/a.png", "@eaDir/SYNO_THUMB.jpg", ".ipynb_checkpoints/a.png"])
def test_what_other_programs_leave_beside_photos_is_none(tmp_path, name):
    for path in (tmp_path / "a.png", tmp_path / "deep" / name, tmp_path / name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert photos.scan(tmp_path) == ["a.png"]
    assert photos.survey(tmp_path).remark == ""


def test_a_link_that_leads_nowhere_is_an_image_and_a_pipe_is_none(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    (tmp_path / "b.png").symlink_to("b.png")
    os.mkfifo(tmp_path / "c.png")
    (tmp_path / "d.png").symlink_to("/dev/zero")
    assert photos.scan(tmp_path) == ["a.png", "b.png"]


# Labels


@pytest.mark.parametrize("word", ["NA", "n/a", "NaN", "NULL", "none", "?", "-"])
def test_a_word_that_programs_write_for_nothing_is_a_class_and_told(word):
    (told,) = photos.doubts(["cat", word, word])
    assert told == f"2 label(s) read {word!r}: taken as a class; leave the cell empty where there is no label"


def test_labels_that_differ_in_case_or_spaces_alone_are_classes_and_told():
    (told,) = photos.doubts(["hot dog", "Hot Dog", "hotdog", "hot dog", "cat", "dog"])
    assert told == (
        "'Hot Dog' (1) and 'hot dog' (2) and 'hotdog' (1) differ in case or spaces alone: taken as different "
        "classes"
    )
    assert photos.doubts(["cat", "dog", "nan a"]) == []


def test_labels_are_read_in_any_order_of_columns_without_the_empty_ones(table):
    path = table("label,note,file\ncat,x,a.png\n,,b.png\n\n  dog ,,c.png\ncat,,a.png\n")
    assert photos.read_labels(path) == {"a.png": "cat", "c.png": "dog"}


def test_what_a_spreadsheet_saves_is_read(table):
    assert photos.read_labels(table('\ufefffile,label\r\n"a, b.png",cat\r\n')) == {"a, b.png": "cat"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is empty, but needs a column 'file'$"),
        ("a.png,cat\n", r"needs one column 'file' and has none; its first line is 'a.png,cat'"),
        (
            "file,status,score\n",
            r"is what `prune` wrote, and has no labels; `prunebench convert .* --to csv`",
        ),
        ("file,label,label\n", r"needs one column 'label' and has 2"),
        ("file,label\na.png\nb.png,cat\n", r"has 1 entries in line 2, but 2 in its header \(1 such lines\)"),
        ("file,label\na.png,cat\na.png,dog\n", r"says of a.png both 'cat' and 'dog'; keep one"),
        (b"file,label\n\xff,cat\n", r"is no text in UTF-8; save it as a .csv in UTF-8"),
    ],
)
def test_a_wrong_table_is_one_line(table, text, message):
    with pytest.raises(PrunebenchError, match=message) as told:
        photos.read_labels(table(text))
    assert "\n" not in str(told.value)


def test_a_table_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(PrunebenchError, match=r"^cannot read .*labels.csv: No such file or directory$"):
        photos.read_labels(tmp_path / "labels.csv")


def test_unknown_files_are_counted_and_the_first_five_shown(tmp_path):
    listed = [f"{number}.png" for number in range(9)]
    with pytest.raises(PrunebenchError) as told:
        photos.matched(tmp_path / "l.csv", listed, ["0.png", "1.png"], tmp_path)
    assert "lists 7 file(s) that are no images in" in str(told.value)
    assert str(told.value).endswith(": 2.png, 3.png, 4.png, 5.png, 6.png, ...")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("photos/sea/b.png", "; names are relative to the folder: write sea/b.png"),
        ("C:\\me\\photos\\sea\\b.png", "; names are relative to the folder: write sea/b.png"),
        ("/me/b.png", '; names are relative to the folder, with "/"'),
        ("sea/b", "; names have an ending: write sea/b.png"),
        ("A", "; names have an ending: write a.jpg"),
        ("c.png", ""),
    ],
)
def test_the_likely_cause_of_an_unknown_name_is_told(tmp_path, name, cause):
    with pytest.raises(PrunebenchError) as told:
        photos.matched(tmp_path / "l.csv", [name], ["a.jpg", "sea/b.png"], tmp_path)
    assert str(told.value).endswith(f"no images in {tmp_path}: {name}{cause}")


def test_classes_are_sorted_and_filled_up(tmp_path):
    labels = {"a": "dog", "b": "cat", "c": "unseen class 1"}
    path = tmp_path / "l.csv"
    assert photos.class_names(path, labels) == ("cat", "dog", "unseen class 1")
    assert photos.class_names(path, labels, 3) == ("cat", "dog", "unseen class 1")
    assert photos.class_names(path, labels, 5)[3:] == ("unseen class 2", "unseen class 3")
    with pytest.raises(PrunebenchError, match=r"--classes 2: but .* has labels of 3: cat, dog, unseen"):
        photos.class_names(path, labels, 2)
    with pytest.raises(
        PrunebenchError, match=r"l.csv has labels of one class alone, dog; label images of an"
    ):
        photos.class_names(path, {"a": "dog", "b": "dog"})
    with pytest.raises(PrunebenchError, match=r"l.csv has no label; fill in the column label$"):
        photos.class_names(path, {})


def test_a_file_of_labels_in_the_working_folder_is_named_as_it_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrunebenchError, match=r"^l.csv has no label"):
        photos.class_names(tmp_path / "l.csv", {})


def test_several_files_of_one_class_are_named_as_they_were_given(tmp_path):
    names = list(write_photos(tmp_path / "photos", count=2))
    tables = [write_labels(tmp_path / f"{name[:3]}.csv", {name: "cat"}) for name in names]
    with pytest.raises(
        PrunebenchError, match=rf"^{tables[0]} with {tables[1]} has labels of one class alone"
    ):
        photos.together(tables, tmp_path / "photos", tmp_path / "store")


# Writing


def test_whether_a_file_can_be_written_is_asked_without_writing_it(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    photos.check_writable(tmp_path / "kept.csv")
    photos.check_writable(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    photos.check_writable(tmp_path / "no" / "nor" / "kept.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(PrunebenchError, match=r"^cannot write .*: Not a directory; choose"):
        photos.check_writable(tmp_path / "file/k.csv")
    with pytest.raises(PrunebenchError, match=r"^--output .* is a folder; name a .csv in it$"):
        photos.check_writable(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    photos.check_writable(Path("~/kept.csv"))


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PrunebenchError, match=r"cannot write .*; choose another --output"):
        write_new(tmp_path / "file" / "kept.csv", b"a\n")
    with pytest.raises(PrunebenchError, match=r"lies in .*, where nothing is written"):
        photos.check_outside(tmp_path, tmp_path / "deep" / "kept.csv", "--output")
    photos.check_outside(tmp_path / "file", tmp_path / "file.csv", "--output")


# The draw


def draw(folder, labels, tmp_path, seed=0, **options):
    return pruning.draw(folder, labels, seed, data=tmp_path / "data", **options)


def test_a_larger_draw_begins_with_the_smaller_one(folder, tmp_path):
    small, large = draw(folder, 7, tmp_path), draw(folder, 40, tmp_path)
    assert large[:7] == small and len(set(large)) == 40
    assert set(large) <= set(photos.scan(folder))
    assert small == draw(folder, 7, tmp_path) != draw(folder, 7, tmp_path, seed=1)


def test_every_image_is_as_likely_as_another():
    names = [str(number) for number in range(20)]

    def request(seed):
        return DrawRequest(folder=Path("photos"), labels=5, seed=seed)

    drawn = [name for seed in range(400) for name in request(seed).order(names)[:5]]
    counts = np.array([drawn.count(name) for name in names])
    assert counts.sum() == 2000 and abs(counts - 100).max() < 40  # 100 each, standard deviation 8.7


def test_the_folder_is_left_as_it_was(folder, tmp_path):
    before = listing(folder)
    draw(folder, 60, tmp_path)
    assert listing(folder) == before


def test_what_cannot_be_read_is_an_error_or_passed_over(folder, tmp_path):
    whole = draw(folder, 10, tmp_path)
    (folder / whole[3]).write_bytes(b"")
    with pytest.raises(PrunebenchError, match=rf"1 of the 10 images .* cannot be read: {whole[3]} "):
        draw(folder, 10, tmp_path)
    skipped = draw(folder, 10, tmp_path, on_bad="skip")
    assert skipped[:9] == [*whole[:3], *whole[4:]] and len(skipped) == 10
    assert draw(folder, 3, tmp_path) == whole[:3]  # what is not drawn is not opened
    with pytest.raises(PrunebenchError, match=rf"--labels is 60, but only 59 .*: {whole[3]}; lower it$"):
        draw(folder, 60, tmp_path, on_bad="skip")


def test_of_many_that_cannot_be_read_others_are_drawn(folder, tmp_path):
    """The last few may all be bad, or one after the other, before there are enough."""
    whole = draw(folder, 60, tmp_path)
    for name in whole[8:20]:
        (folder / name).write_bytes(b"")
    assert draw(folder, 9, tmp_path, on_bad="skip") == [*whole[:8], whole[20]]
    for name in whole:
        (folder / name).write_bytes(b"")
    with pytest.raises(PrunebenchError, match=rf"^none of the 60 images in {folder} can be read$"):
        draw(folder, 9, tmp_path, on_bad="skip")


@pytest.mark.parametrize("labels", [0, -1, 61])
def test_only_images_that_are_there_can_be_drawn(folder, tmp_path, labels):
    with pytest.raises(PrunebenchError, match=rf"--labels is {labels}, expected 1 to 60, the images"):
        draw(folder, labels, tmp_path)


def test_decoded_images_are_not_kept_in_the_folder(folder):
    with pytest.raises(PrunebenchError, match=r"--data .* lies in .*, where nothing is written"):
        pruning.draw(folder, 3, data=folder / "data")


# The dataset


def test_what_is_held_out_of_a_memory_map_stays_there(folder, tmp_path, monkeypatch):
    """As many copies as there are seeds would not fit into memory."""
    known = write_labels(tmp_path / "all.csv", write_photos(folder))
    spec = {"family": "photos", "name": "p", "path": str(folder), "side": 8, "known": str(known)}
    dataset = load().dataset(spec | {"holdout": 0.2})
    small = {split: dataset.load(tmp_path / "data", split) for split in ("train", "test")}
    key = dataset_key(dataset, tmp_path / "data", Store(tmp_path / "one"))
    monkeypatch.setattr(decoding, "SMALL", 0)
    for split, (images, labels) in small.items():
        mapped, same = dataset.load(tmp_path / "data", split)
        assert isinstance(images, np.ndarray) and not isinstance(mapped, np.ndarray)
        assert isinstance(mapped, Chosen) and isinstance(mapped.base, np.memmap)
        assert mapped.shape == images.shape == ({"train": 48, "test": 12}[split], 3, 8, 8)
        assert (mapped[:] == images).all() and (same == labels).all()
    assert dataset_key(dataset, tmp_path / "data", Store(tmp_path / "other")) == key


def test_a_label_that_is_edited_between_two_looks_at_the_file_is_no_crash(folder, tmp_path, monkeypatch):
    truth = write_photos(folder)
    known = write_labels(tmp_path / "all.csv", truth)
    spec = {"family": "photos", "name": "p", "path": str(folder), "side": 8, "known": str(known)}
    dataset, read = load().dataset(spec), photos.read_labels
    monkeypatch.setattr(photos, "read_labels", lambda path: (read(path), write_labels(path, {"x": "y"}))[0])
    _, labels = dataset.load(tmp_path / "data", "train")
    assert [dict(enumerate(("bird", "cat", "dog")))[label] for label in labels] == [*truth.values()]


def test_labels_that_were_written_are_read(tmp_path):
    labels = {"a/ü.png": "Käse, alt", 'b".png': "x"}
    assert photos.read_labels(write_labels(tmp_path / "l.csv", labels)) == labels


def test_the_side_is_that_of_most_photos_and_at_most_what_backbones_see(tmp_path):
    sizes = {"a.png": (40, 30), "b.png": (20, 500), "c.png": (90, 90), "d.png": None}
    for name, size in sizes.items():
        if size is None:
            (tmp_path / name).write_bytes(b"no image")
        else:
            Image.new("RGB", size).save(tmp_path / name)
    assert photos.common_side(tmp_path, [*sizes]) == 30
    assert photos.common_side(tmp_path, ["d.png"]) == 224
    Image.new("RGB", (600, 500)).save(tmp_path / "e.png")
    assert photos.common_side(tmp_path, ["e.png"]) == 224
