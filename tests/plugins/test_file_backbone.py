"""The backbone `file`: embeddings made elsewhere, found by the names of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prunebench.parts.identity import identity, without_paths
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench_plugins.backbones.file import File
from prunebench_plugins.selectors.random import Random
from tests.messages import line

NAMES = ("a.jpg", "sea/b.jpg", "c d.png")
VECTORS = np.array([[1.0, 2, 3], [4, 5, 6], [-7, 0.5, 1e-3]], np.float32)
ORDER = (2, 0, 1)  # of the rows in a file
ROWS = [NAMES[i] for i in ORDER]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_npy(vectors=VECTORS[list(ORDER)], names=ROWS, file="e.npy"):
    np.save(file, vectors)
    Path(file).with_suffix(".csv").write_text("\n".join(["file", *names, ""]))


def write_parquet(**columns):
    pa = pytest.importorskip("pyarrow")
    written = pytest.importorskip("pyarrow.parquet")
    written.write_table(pa.table(columns), "e.parquet")


def write_csv(text):
    Path("e.csv").write_text(text)


CSV = "file;x;y;z\n" + "".join(f"{NAMES[i]};{';'.join(map(str, VECTORS[i].tolist()))}\n" for i in ORDER)


# What is read


def test_rows_of_an_npy_are_named_by_the_table_beside_it():
    write_npy()
    embedded = File(path=Path("e.npy")).embed(names=NAMES)
    assert embedded.dtype == np.float32 and embedded.tolist() == VECTORS.tolist()


def test_another_table_may_name_them():
    write_npy()
    Path("e.csv").rename("names.csv")
    assert line(File(path=Path("e.npy")).ready) == (
        "e.npy needs the names of its rows: there is no e.csv with the column 'file'"
    )
    named = File(path=Path("e.npy"), names=Path("names.csv"))
    assert named.embed(names=NAMES).tolist() == VECTORS.tolist()


def test_a_csv_has_a_column_for_each_dimension():
    write_csv(CSV)
    assert File(path=Path("e.csv")).embed(names=NAMES).tolist() == VECTORS.tolist()


@pytest.mark.parametrize("kind", ["list", "fixed", "large", "double", "columns"])
def test_a_parquet_has_lists_or_a_column_for_each_dimension(kind):
    pa = pytest.importorskip("pyarrow")
    rows = [VECTORS[i].tolist() for i in ORDER]
    types = {
        "list": pa.list_(pa.float32()),
        "fixed": pa.list_(pa.float32(), 3),
        "large": pa.large_list(pa.float32()),
        "double": pa.list_(pa.float64()),
    }
    if kind == "columns":
        write_parquet(
            file=ROWS, label=["x", "y", "z"], **dict(zip("pqr", zip(*rows, strict=True), strict=True))
        )
    else:
        write_parquet(file=ROWS, embedding=pa.array(rows, types[kind]), size=[1, 2, 3])
    assert File(path=Path("e.parquet")).embed(names=NAMES).tolist() == VECTORS.tolist()


def test_columns_may_have_other_names_and_be_several():
    write_parquet(id=ROWS, big=VECTORS.tolist(), small=[[1.0], [2.0], [3.0]])
    assert line(lambda: File(path=Path("e.parquet"), name_column="id").embed(names=NAMES)) == (
        "e.parquet has 2 columns of lists: name one with file.column, of big, small"
    )
    chosen = File(path=Path("e.parquet"), name_column="id", column="small")
    assert chosen.embed(names=NAMES).tolist() == [[2], [3], [1]]


def test_other_images_are_passed_over_and_names_match_as_people_write_them():
    write_npy(np.arange(8.0).reshape(4, 2), ["x.jpg", "SEA\\b.jpg", "./a.jpg", "c d.png"])
    assert File(path=Path("e.npy")).embed(names=NAMES).tolist() == [[4, 5], [2, 3], [6, 7]]


def test_file_colon_path_is_one():
    write_npy()
    part = load().part("backbone", "file:e.npy")
    assert part == File(path=Path("e.npy"), names=Path("e.csv")) and part.frozen


def test_content_decides_the_key_and_not_the_place():
    write_npy()
    write_npy(file="f.npy")
    keys = [without_paths(identity(File(path=Path(name)))) for name in ("e.npy", "f.npy")]
    assert keys[0] == keys[1]
    write_npy(names=NAMES, file="f.npy")  # the same numbers, named otherwise
    assert without_paths(identity(File(path=Path("f.npy")))) != keys[0]
    write_npy(VECTORS, file="f.npy")
    assert without_paths(identity(File(path=Path("f.npy")))) != keys[0]


# What is wrong


def test_a_part_without_its_file_is_not_ready():
    assert line(File().ready).startswith("file.path is not set: name a file *.npy, *.csv, *.parquet, as in")
    assert line(File(path=Path("e.csv")).ready) == "file.path is 'e.csv', but there is no such file"


def refused(**fields):
    return line(lambda: File(path=Path("e.npy"), **fields).embed(names=NAMES))


def test_an_image_without_an_embedding_is_one_line():
    write_npy(VECTORS[:2], NAMES[:2])
    assert refused() == "e.npy has no embedding of 1 of the 3 images: c d.png"


@pytest.mark.parametrize(
    ("vectors", "names", "message"),
    [
        (VECTORS[:2], NAMES, "e.npy has 2 rows, but e.csv names 3; name each row, in order"),
        (VECTORS[0], NAMES, "e.npy holds float32 of shape (3,), expected a row of numbers per image"),
        (
            np.array([["a"]] * 3),
            NAMES,
            "e.npy holds <U1 of shape (3, 1), expected a row of numbers per image",
        ),
        (VECTORS[[0, 0, 1, 2]], ("./a.jpg", *NAMES), "e.npy has two embeddings of a.jpg; keep one"),
        (
            np.where(VECTORS == 5, np.nan, VECTORS),
            NAMES,
            "e.npy has 1 embeddings with numbers that are not finite: sea/b.jpg",
        ),
    ],
)
def test_a_wrong_npy_is_one_line(vectors, names, message):
    write_npy(vectors, names)
    assert refused() == message


def test_nothing_in_an_npy_is_run():
    write_npy(np.array([{}, {}, {}], object))
    assert refused().startswith("e.npy cannot be read (Object arrays cannot be loaded")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x\na.jpg,1\n", "e.csv needs one column 'file' and has none; its first line is 'name,x'"),
        ("file\na.jpg\n", "e.csv has no numbers beside the column 'file'"),
        ("file,x\na.jpg,one\n", "e.csv has 'one' in line 2 of column 'x', which is no number"),
    ],
)
def test_a_wrong_csv_is_one_line(text, message):
    write_csv(text)
    assert line(lambda: File(path=Path("e.csv")).embed(names=NAMES)) == message


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0], [2.0, 3.0], [4.0]], "has lists of different lengths in column 'e', expected one length for"),
        ([[1.0], None, [4.0]], "has lists of different lengths in column 'e', expected one length for all"),
        ([["a"], ["b"], ["c"]], "has lists of object in column 'e', expected numbers"),
        ([1.0, 2.0, 3.0], "has double in column 'e', expected lists of numbers"),
    ],
)
def test_a_wrong_parquet_is_one_line(column, message):
    write_parquet(file=NAMES, e=column)
    assert message in line(lambda: File(path=Path("e.parquet"), column="e").embed(names=NAMES))


def test_fields_that_cannot_be_meant_are_refused():
    assert line(lambda: File(path=Path("e.txt"))).startswith("e.txt cannot be read: expected a file *.npy")
    assert "has no columns of lists: unset it" in line(lambda: File(path=Path("e.csv"), column="x"))
    assert "has names of its own: unset it" in line(lambda: File(path=Path("e.csv"), names=Path("f.csv")))


def test_final_networks_cannot_train_on_it_where_test_images_have_no_names(matrix):
    write_npy()
    method = Method("r", title="R", selector=Random())
    said = line(lambda: matrix(method, changes={"recipe.final_backbone": "file:e.npy"}).graph)
    assert said.startswith(
        "recipe.final_backbone is 'file', which knows images by name, but the test images of"
    )


def test_a_dataset_without_names_is_one_line():
    write_npy()
    assert line(lambda: File(path=Path("e.npy")).embed(names=())) == (
        "e.npy has embeddings by name, but the images of this dataset have no names"
    )
