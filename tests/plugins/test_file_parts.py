"""The parts called `file`: what they read, in which order, and what they refuse."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.parts.images import Images
from prunebench.system import tables
from prunebench_plugins.labelers import file as labelers
from prunebench_plugins.scorers import file as scorers
from prunebench_plugins.selectors import file as selectors
from prunebench_plugins.selectors.include import Include

FINGERPRINT = "18d07bdddd1f" + "0" * 52
NAMES = ("ant/1.png", "ant/2.png", "bee/1.png", "cat/9.png")
CLASSES = ("ant", "bee", "cat")


def blank(n):
    """Return n black images of one pixel."""
    return Images(np.zeros((n, 1, 1, 1), np.uint8), mean=(0.5,), std=(0.5,))


def score(path, n=4, names=NAMES, **fields):
    return scorers.File(path=path, **fields).score(images=blank(n), names=names, fingerprint=FINGERPRINT)


def select(path, keep, n=4, names=NAMES, **fields):
    part = selectors.File(path=path, **fields)
    return part.select(images=blank(n), names=names, fingerprint=FINGERPRINT, keep=keep)


def label(path, n=4, names=NAMES, annotated=(), **fields):
    known_labels = np.full(n, -1)
    known_labels[list(annotated)] = 0
    part = labelers.File(path=path, **fields)
    return part.label(names=names, fingerprint=FINGERPRINT, classes=CLASSES, known_labels=known_labels)


def refusal(call, *arguments, **fields):
    """Return the error of a call: one line."""
    with pytest.raises(PrunebenchError) as error:
        call(*arguments, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


# Scores

WANTED = [0.5, -1.0, 2.0, 0.25]


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("s.npy", np.array(WANTED), {}),
        ("s.npy", np.array(WANTED, np.float16), {}),
        ("s.npy", np.array(WANTED, ">f8"), {}),
        ("s.pt", torch.tensor(WANTED), {}),
        ("s.pt", torch.tensor(WANTED, dtype=torch.bfloat16, requires_grad=True), {}),
        ("s.pt", {"ids": torch.arange(4), "aum": torch.tensor(WANTED)}, {"column": "aum"}),
        ("s.csv", "aum\n.5\n-1\n2e0\n0.25\n", {"column": "aum"}),
        ("s.csv", "\ufeffaum,epoch\r\n.5,1\r\n-1,2\r\n\r\n2,3\r\n0.25,4\r\n", {"column": "aum"}),
        ("s.csv", "id,aum\n2,2\n0,.5\n3,.25\n1,-1\n", {"column": "aum", "index_column": "id"}),
        (
            "s.csv",
            '"aum","file, below train"\n2,bee/1.png\n.25,cat/9.png\n.5,"ant/1.png"\n-1,ant/2.png\n',
            {"column": "aum", "name_column": "file, below train"},
        ),
    ],
)
def test_scores_are_read_into_the_order_of_the_dataset(write, name, content, fields):
    found = score(write(name, content), **fields)
    assert (found.dtype, found.tolist()) == (np.float64, WANTED)


@pytest.fixture
def parquet(tmp_path):
    """parquet(aum=[...], file=[...]): the path of a .parquet with these columns."""
    pa, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def write(**columns):
        path = tmp_path / "table.parquet"
        written.write_table(pa.table(columns), path)
        return path

    return write


def test_a_parquet_file_is_read_by_column_by_index_and_by_name(parquet):
    path = parquet(
        aum=WANTED[::-1], row=[3, 2, 1, 0], file=NAMES[::-1], label=[2, 1, -1, 0], name=(*CLASSES, "ant")
    )
    assert score(path, column="aum").tolist() == WANTED[::-1]
    assert score(path, column="aum", index_column="row").tolist() == WANTED
    assert score(path, column="aum", name_column="file").tolist() == WANTED
    assert label(path, column="label", name_column="file").values.tolist() == [0, -1, 1, 2]
    assert label(path, column="name", space="name").values.tolist() == [0, 1, 2, 0]
    assert sorted(select(parquet(file=NAMES[1:3]), 2, name_column="file")) == [1, 2]


def test_a_wrong_parquet_file_is_one_line(parquet, write, monkeypatch):
    path = parquet(aum=[0.5, None, 1.0, 2.0], label=[0, 1, 1.5, 0])
    assert "table.parquet has '' in row 2 of column 'aum', which is no number" in refusal(
        score, path, column="aum"
    )
    assert "'0.0' in row 1 of column 'label', which is no whole number" in refusal(
        label, path, column="label"
    )
    assert refusal(score, path, column="aux").startswith(
        f"no column of {path} named 'aux'. Did you mean 'aum'?"
    )
    assert refusal(score, path) == f"{path} is a table: name the column to read, with file.column"
    damaged = write("damaged.parquet", "PAR1")
    assert refusal(score, damaged, column="aum").startswith(f"{damaged} is not a whole Parquet file: ")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(score, path, column="aum").endswith("needs pyarrow: pip install 'prunebench[parquet]'")


def test_whole_numbers_are_scores_too(write):
    assert score(write("s.npy", np.array([3, 0, 7, 7], np.uint8))).tolist() == [3.0, 0.0, 7.0, 7.0]


def test_low_scores_are_negated_where_low_is_hard(write):
    path = write("s.npy", WANTED)
    assert score(path, harder="low").tolist() == [-0.5, 1.0, -2.0, -0.25]
    assert score(path, harder="high").tolist() == WANTED


def test_rows_in_any_order_are_one_score_per_image(write):
    rng = np.random.default_rng(0)
    values, order = rng.random(500), rng.permutation(500)
    names = tuple(f"c/{i:03}.png" for i in range(500))
    rows = "".join(f"{names[i]},{i},{float(values[i])!r}\n" for i in order)
    path = write("s.csv", "name,index,score\n" + rows)
    for key in ({"name_column": "name"}, {"index_column": "index"}):
        found = score(path, 500, names, column="score", **key)
        assert found.tolist() == values.tolist()
    assert score(path, 500, names, column="score").tolist() == values[order].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "Name;Score\nANT\\1.png;1\n./ant/2.png;2\nbee/1.PNG;3\ncat/9.png;4\n",
        '\ufeff"NAME","SCORE"\r\n"ant/1.png","1"\r\n"ant/2.png","2"\r\n"bee/1.png","3"\r\n"cat/9.png","4"\r\n',
        "name\tscore\tnote\nant/1.png\t1\t\nant/2.png\t2\t;\nbee/1.png\t3\t,\ncat/9.png\t4\t\n",
    ],
)
def test_a_table_that_a_spreadsheet_saved_is_read(write, text):
    found = score(write("s.csv", text), column="score", name_column="name")
    assert found.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_names_and_classes_that_a_spreadsheet_would_run_are_read_as_they_were(write):
    names = ("=1.png", "-2.png", "'=3.png", "+4\r.png")
    path = write("s.csv", tables.written(["n", "a"], [(name, str(i)) for i, name in enumerate(names)]))
    assert score(path, names=names, column="a", name_column="n").tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("s.npy", [1.0, 2.0, 3.0], {}, "s.npy holds 3 values, but the dataset has 4 training images; is it"),
        ("s.csv", "a\n1\n2\n3\n4\n5\n", {"column": "a"}, "s.csv holds 5 values, but the dataset has 4 "),
        (
            "s.npy",
            [1.0, np.nan, np.inf, 0.0],
            {},
            "s.npy has 2 scores that are not finite, the first nan for image 1; every image needs a number",
        ),
        (
            "s.csv",
            "a\n1\n2\nnan\n4\n",
            {"column": "a"},
            "s.csv has 1 scores that are not finite, the first nan",
        ),
        ("s.npy", np.ones((4, 1)), {}, "s.npy holds an array of shape (4, 1), expected one of one dimension"),
        ("s.npy", np.float64(3), {}, "s.npy holds an array of shape (), expected one of one dimension"),
        ("s.npy", ["1", "2", "3", "4"], {}, "s.npy holds <U1, expected numbers (float or int)"),
        ("s.npy", np.ones(4, bool), {}, "s.npy holds bool, expected numbers (float or int)"),
        ("s.npy", np.ones(4, complex), {}, "s.npy holds complex128, expected numbers (float or int)"),
        (
            "s.csv",
            "a\n1\n\n2\nx\n4\n",
            {"column": "a"},
            "s.csv has 'x' in line 5 of column 'a', which is no number",
        ),
        (
            "s.csv",
            'b;a\n"two\nlines";1\n\n\nx;1_0\n',
            {"column": "a"},
            "s.csv has '1_0' in line 6 of column 'a', which is no number",
        ),
        ("s.csv", 'a\n1\n2\n""\n4\n', {"column": "a"}, "s.csv has '' in line 4 of column 'a', which is no "),
        (
            "s.csv",
            "aum,b\n1,2\n",
            {"column": "aun"},
            "s.csv needs one column 'aun' and has none; its first line is 'aum,b'",
        ),
        ("s.csv", "a|b\n1|2\n", {"column": "a"}, "s.csv needs one column 'a' and has none; its first"),
        (
            "s.csv",
            '"a\nb"\n1\n',
            {"column": "z"},
            "s.csv needs one column 'z' and has none; its first line is 'a\\nb'",
        ),
        ("s.csv", "", {"column": "a"}, "s.csv is empty, but needs a column 'a'"),
        ("s.csv", "a,a\n1,2\n", {"column": "a"}, "s.csv needs one column 'a' and has 2; its first"),
        ("s.csv", "a,b\n1,2\n3\n", {"column": "a"}, "s.csv has 1 entries in line 3, but 2 in its header"),
        (
            "s.pt",
            {"aum": torch.ones(4), "ids": torch.ones(4)},
            {},
            "s.pt is a dict: name the entry to read, with file.column, one of aum, ids",
        ),
        (
            "s.pt",
            {"aum": torch.ones(4)},
            {"column": "aun"},
            "no entry of s.pt named 'aun'. Did you mean 'aum'?",
        ),
        ("s.pt", torch.ones(4), {"column": "a"}, "file.column is 'a', but s.pt holds no dict: unset it"),
        ("s.pt", [1.0, 2.0], {}, "s.pt holds a list, expected a plain tensor; save a tensor, or a dict of"),
        (
            "s.pt",
            torch.ones(4).to_sparse(),
            {},
            "s.pt holds a Tensor, expected a plain tensor; save a tensor,",
        ),
    ],
)
def test_a_file_that_is_not_one_number_per_image_is_one_line(write, tmp_path, name, content, fields, message):
    told = refusal(score, write(name, content), **fields)
    assert told.replace(f"{tmp_path}/", "").startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a\n0\n1\n3\n",
            "s.csv has no row for 1 of the 4 training images, the first of them image 2 (bee/1.png)",
        ),
        ("a\n0\n1\n2\n3\n1\n1\n2\n", "s.csv lists image 1 more than once (2 such images)"),
        (
            "a\n1\n2\n3\n4\n",
            "s.csv lists image 4, but the images are 0..3 (1 such); is it for another dataset, or ",
        ),
        (
            "a\n-1\n2\n3\n4\n",
            "s.csv lists image -1, but the images are 0..3 (2 such); is it for another dataset, ",
        ),
        ("a\n0\n1\n2.0\n3\n", "s.csv has '2.0' in line 4 of column 'a', which is no whole number"),
        (
            "a\n0\n1\n99999999999999999999\n3\n",
            "s.csv has '99999999999999999999' in line 4 of column 'a', which ",
        ),
    ],
)
def test_indices_that_are_not_each_image_once_are_one_line(write, tmp_path, text, message):
    told = refusal(score, write("s.csv", text), column="a", index_column="a")
    assert told.replace(f"{tmp_path}/", "").startswith(message)


@pytest.mark.parametrize(
    ("listed", "names", "message"),
    [
        (
            ["ant/1.png", "1.png", "x", "ant/2.png"],
            NAMES,
            "s.csv names '1.png', which is no training image of this dataset (2 such); its images have names "
            "such as 'ant/1.png'",
        ),
        ([*NAMES, NAMES[3]], NAMES, "s.csv lists image 3 more than once (1 such images)"),
        (
            NAMES[1:],
            NAMES,
            "s.csv has no row for 1 of the 4 training images, the first of them image 0 (ant/1.png)",
        ),
        (
            NAMES,
            (),
            "file.name_column is 'n', but the images of this dataset have no names; give their "
            "indices, with file.index_column",
        ),
    ],
)
def test_names_that_are_not_each_image_once_are_one_line(write, tmp_path, listed, names, message):
    path = write("s.csv", "n,a\n" + "".join(f"{name},1\n" for name in listed))
    told = refusal(score, path, names=names, column="a", name_column="n")
    assert told.replace(f"{tmp_path}/", "") == message


class Trap:
    """Something that would leave a trace if a file were unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize(
    "name", ["s.npy", "object.npy", "zip.npy", "empty.npy", "s.pt", "plain.pt", "cut.pt"]
)
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    match name:
        case "s.npy" | "plain.pt":
            path.write_bytes(pickle.dumps(Trap()))
        case "object.npy":
            np.save(path, np.array([Trap()] * 4, object), allow_pickle=True)
        case "zip.npy":
            with path.open("wb") as file:
                np.savez(file, a=np.ones(4))
        case "s.pt":
            torch.save({"a": Trap()}, path)
        case "cut.pt":
            torch.save(torch.ones(4), path)
            path.write_bytes(path.read_bytes()[:200])
        case _:
            path.touch()
    told = refusal(score, path)
    assert told.startswith(str(path))
    assert "; save a tensor, or " in told if path.suffix == ".pt" else "; save plain numbers, " in told
    assert not (tmp_path / "sprung").exists()


# Fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": Path("s.txt")}, "s.txt cannot be read: expected a file *.npy, *.csv, *.parquet, *.pt"),
        ({"path": Path("s.pkl")}, "s.pkl cannot be read: expected a file *.npy, *.csv, *.parquet, *.pt"),
        ({"path": Path("s.csv")}, "s.csv is a table: name the column to read, with file.column"),
        (
            {"path": Path("s.npy"), "column": "a"},
            "file.column is 'a', but it does not apply to s.npy: unset it",
        ),
        (
            {"path": Path("s.npy"), "name_column": "n"},
            "file.name_column is 'n', but s.npy has no columns: unset it, or name a table",
        ),
        (
            {"path": Path("s.pt"), "index_column": "i"},
            "file.index_column is 'i', but s.pt has no columns: unset it, or name a table",
        ),
        (
            {"index_column": "i", "name_column": "n"},
            "file.name_column is 'n', expected unset if index_column is set",
        ),
        ({"harder": "hard"}, "file.harder is 'hard', expected 'high' or 'low'"),
        ({"fingerprint": "18d07bd"}, "file.fingerprint is '18d07bd', expected 8 to 64 digits of 0-9 and a-f"),
        ({"fingerprint": "18D07BDD"}, "file.fingerprint is '18D07BDD', expected 8 to 64 digits of 0-9 and "),
        ({"fingerprint": "0" * 65}, "file.fingerprint is '000"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused_before_anything_is_read(fields, message):
    assert refusal(scorers.File, **fields).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": "names"}, "file.space is 'names', expected 'class', 'cluster' or 'name'"),
        (
            {"path": Path("l.npy"), "space": "name"},
            "l.npy holds no names of classes: only a table does, *.csv, *.parquet",
        ),
        ({"sampling": "uniform"}, "file.sampling is 'uniform', expected 'given': nothing is drawn here"),
        ({"label_fraction": 1.5}, "file.label_fraction is 1.5, expected in 0..1"),
        (
            {"label_fraction": 0.1},
            "file.label_fraction is 0.1, but file.annotated is not set; name the file that lists",
        ),
        (
            {"annotated": Path("p.npy")},
            "file.annotated is 'p.npy', expected unset if label_fraction is 0 or 1",
        ),
        (
            {"path": Path("l.npy"), "label_fraction": 0.1, "annotated": Path("p.csv")},
            "p.csv is a table: name the column that lists the images, with file.index_column or file.",
        ),
    ],
)
def test_fields_of_the_labeler(fields, message):
    assert refusal(labelers.File, **fields).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"per_class": True}, "file.per_class is True, expected false: the file has chosen already"),
        (
            {"path": (Path("a.npy"), Path("b.txt"))},
            "b.txt cannot be read: expected a file *.npy, *.csv, ",
        ),
        ({"path": Path("k.csv")}, "k.csv is a table: name the column that lists the images, with file."),
        (
            {"path": Path("k.csv"), "column": "k", "index_column": "k"},
            "file.column is 'k', but it does not apply to k.csv: unset it",
        ),
    ],
)
def test_fields_of_the_selector(fields, message):
    assert refusal(selectors.File, **fields).startswith(message)


@pytest.mark.parametrize("module", [scorers, labelers, selectors], ids=["scorer", "labeler", "selector"])
def test_a_part_without_its_file_is_not_ready(module, tmp_path):
    assert refusal(module.File().ready) == (
        "file.path is not set: name a file *.npy, *.csv, *.parquet, *.pt, as in "
        '{part = "file", path = "FILE.npy"} or --set file.path=FILE.npy'
    )
    absent = tmp_path / "absent.npy"
    assert refusal(module.File(path=absent).ready) == f"file.path is '{absent}', but there is no such file"
    absent.touch()
    module.File(path=absent).ready()


def test_every_file_has_to_be_there(tmp_path):
    there, absent = tmp_path / "there.npy", tmp_path / "absent.npy"
    there.touch()
    assert "absent.npy', but there" in refusal(selectors.File(path=(there, absent)).ready)
    told = refusal(labelers.File(path=there, label_fraction=0.5, annotated=absent).ready)
    assert told == f"file.annotated is '{absent}', but there is no such file"


def test_a_file_for_another_dataset_is_refused(write):
    path = write("x.npy", [0, 1, 2, 0])
    for call, more in ((score, {}), (label, {}), (select, {"keep": 4})):
        told = refusal(call, path, fingerprint="18d07bdddd1e", **more)
        assert told == (
            f"{path} is for the dataset with fingerprint 18d07bdddd1e, but this one has 18d07bdddd1f; "
            "choose that dataset, or another file"
        )
    assert len(score(path, fingerprint="18d07bdd")) == len(score(path, fingerprint=FINGERPRINT)) == 4


# Subsets


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("k.npy", np.array([3, 0], np.int32), {}),
        ("k.npy", np.array([3, 0], np.uint8), {}),
        ("k.npy", np.array([True, False, False, True]), {}),
        ("k.pt", torch.tensor([0, 3]), {}),
        ("k.pt", torch.tensor([True, False, False, True]), {}),
        ("k.pt", {"kept": torch.tensor([0, 3])}, {"column": "kept"}),
        ("k.csv", "kept,score\n3,1\n0,2\n", {"index_column": "kept"}),
        ("k.csv", "image\ncat/9.png\nant/1.png\n", {"name_column": "image"}),
    ],
)
def test_the_listed_images_are_kept(write, name, content, fields):
    assert sorted(select(write(name, content), 2, **fields).tolist()) == [0, 3]


def test_nothing_can_be_kept(write):
    assert select(write("k.npy", np.zeros(4, bool)), 0).tolist() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [0, 4],
            "k.npy lists image 4, but the images are 0..3 (1 such); is it for another dataset, or does it",
        ),
        (
            [0, -1],
            "k.npy lists image -1, but the images are 0..3 (1 such); is it for another dataset, or does",
        ),
        ([1, 0, 0, 1], "k.npy lists image 0 more than once (2 such images); a mask has to be of type bool"),
        ([0.0, 1.0], "k.npy holds float64, expected indices (int) or a mask (bool)"),
        (
            [True, False, True],
            "k.npy holds 3 values, but the dataset has 4 training images; is it for another ",
        ),
        ([[0, 1]], "k.npy holds an array of shape (1, 2), expected one of one dimension"),
        ([0, 1, 2], "2 of 4 images are to be kept, but k.npy keeps 3, which is ratio 25"),
        ([0], "2 of 4 images are to be kept, but k.npy keeps 1, which is ratio 75"),
    ],
)
def test_a_list_that_is_not_to_be_kept_is_one_line(write, tmp_path, content, message):
    assert refusal(select, write("k.npy", content), 2).replace(f"{tmp_path}/", "").startswith(message)


def test_a_count_that_no_ratio_keeps_is_told():
    assert selectors._fit(1347, 673) == "which is ratio 50"
    assert selectors._fit(1347, 674) == "which is no ratio"


def test_of_several_files_the_one_that_fits_is_taken(write, tmp_path):
    paths = (write("many.npy", [2, 1, 0]), write("few.npy", [False, False, False, True]))
    assert select(paths, 3).tolist() == [2, 1, 0]
    assert select(paths, 1).tolist() == [3]
    assert refusal(select, paths, 2).replace(f"{tmp_path}/", "") == (
        "2 of 4 images are to be kept, but many.npy keeps 3, which is ratio 25; "
        "few.npy keeps 1, which is ratio 75"
    )
    told = refusal(select, (*paths, write("other.npy", [0])), 1).replace(f"{tmp_path}/", "")
    assert told == "few.npy and other.npy both keep 1 images; name one file for each ratio"


def test_held_by_include_names_find_the_unlabeled_images(write):
    held = selectors.File(path=write("k.csv", "n\ncat/9.png\n"), name_column="n")
    known_labels = np.array([-1, 0, -1, -1])
    found = Include(selector=held).select(
        known_labels=known_labels, keep=2, images=blank(4), names=NAMES, fingerprint=FINGERPRINT
    )
    assert found.tolist() == [1, 3]


# Labels


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("l.npy", np.array([2, 0, -1, 1]), {}),
        ("l.npy", np.array([2, 0, -1, 1], np.int8), {}),
        ("l.pt", torch.tensor([2, 0, -1, 1]), {}),
        ("l.csv", "y\n2\n0\n-1\n1\n", {"column": "y"}),
        ("l.csv", "i,y\n3,1\n2,-1\n1,0\n0,2\n", {"column": "y", "index_column": "i"}),
        ("l.csv", "y\ncat\nant\n-1\nbee\n", {"column": "y", "space": "name"}),
    ],
)
def test_labels_are_read_into_the_order_of_the_dataset(write, name, content, fields):
    found = label(write(name, content), **fields)
    assert (found.values.tolist(), found.space) == ([2, 0, -1, 1], "class")


def test_clusters_have_no_names(write):
    assert label(write("l.npy", [2, 0, -1, 1]), space="cluster").space == "cluster"


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("l.npy", [0, 1, 2], {}, "l.npy holds 3 values, but the dataset has 4 training images; is it for"),
        ("l.npy", [0.0, 1.0, 2.0, 0.0], {}, "l.npy holds float64, expected labels (int)"),
        ("l.npy", [True, True, False, True], {}, "l.npy holds bool, expected labels (int)"),
        (
            "l.npy",
            [0, 3, 2, 4],
            {},
            "l.npy has label 3 for image 1 (2 such), but the labels of 3 classes are 0..2, or -1 if ",
        ),
        (
            "l.npy",
            [0, -2, 2, 1],
            {"space": "cluster"},
            "l.npy has label -2 for image 1 (1 such), but the labels",
        ),
        (
            "l.csv",
            "y\n0\n1.0\n2\n1\n",
            {"column": "y"},
            "l.csv has '1.0' in line 3 of column 'y', which is no whole",
        ),
        (
            "l.csv",
            "y\n0\n1\n0_1\n1\n",
            {"column": "y"},
            "l.csv has '0_1' in line 4 of column 'y', which is no",
        ),
        (
            "l.csv",
            "y\nant\nbeee\ncat\nx\n",
            {"column": "y", "space": "name"},
            "no class in l.csv named 'beee'. Did you mean 'bee'? See: prunebench list datasets",
        ),
    ],
)
def test_a_file_that_is_not_one_label_per_image_is_one_line(write, tmp_path, name, content, fields, message):
    told = refusal(label, write(name, content), **fields)
    assert told.replace(f"{tmp_path}/", "").startswith(message)


def test_the_annotated_images_have_to_be_as_many_as_was_said(write, tmp_path):
    labels, annotated = write("l.npy", np.zeros(30, int)), write("p.npy", np.arange(10))
    for label_fraction in (10 / 30, 0.333, 0.34, 0.31):
        part = labelers.File(path=labels, label_fraction=label_fraction, annotated=annotated)
        assert part.annotated_images(30, ()).tolist() == list(range(10))
    part = labelers.File(path=labels, label_fraction=0.3, annotated=annotated)
    assert refusal(part.annotated_images, 30, ()).replace(f"{tmp_path}/", "") == (
        "p.npy lists 10 of 30 images, but file.label_fraction is 0.3; set it to 0.333333"
    )


def test_a_label_file_and_its_annotated_images_share_the_columns_that_say_which_image(write):
    labels = write("l.csv", "image,y\ncat/9.png,2\nbee/1.png,1\nant/2.png,0\nant/1.png,0\n")
    annotated = write("p.csv", "image\nbee/1.png\n")
    part = labelers.File(
        path=labels, column="y", name_column="image", label_fraction=0.25, annotated=annotated
    )
    assert part.annotated_images(4, NAMES).tolist() == [2]
    assert label(labels, column="y", name_column="image").values.tolist() == [0, 0, 1, 2]
