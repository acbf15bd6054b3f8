"""Result rows on disk: appended once, never overwritten, readable whatever happened to the file."""

import pytest
from pydantic import ValidationError

from prunebench import results
from prunebench.errors import PrunebenchError
from prunebench.results import append, path_of, read, read_file


def rows(folder):
    return read(folder, "toys")[0]


def test_a_row_goes_to_the_file_of_its_suite_dataset_and_method(row, tmp_path):
    assert append(tmp_path, row())
    assert path_of(tmp_path, row()) == tmp_path / "results" / "toys" / "toy" / "random.jsonl"
    assert rows(tmp_path) == [row()]
    assert list(results.suites(tmp_path)) == ["toys"]


def test_a_row_that_agrees_is_not_added_again(row, tmp_path):
    assert append(tmp_path, row(date="2026-01-01T00:00:00Z"))
    assert not append(tmp_path, row(date="2026-02-02T00:00:00Z"))
    assert [found.date for found in rows(tmp_path)] == ["2026-01-01T00:00:00Z"]


@pytest.mark.parametrize("other", [{"seed": 1}, {"ratio": 30}, {"method_key": "m"}, {"dataset_hash": "e"}])
def test_a_row_of_another_cell_is_added(row, tmp_path, other):
    assert append(tmp_path, row())
    assert append(tmp_path, row(**other))


def test_rows_that_disagree_are_both_kept(row, tmp_path):
    assert append(tmp_path, row(accuracy=80.0))
    assert append(tmp_path, row(accuracy=80.01))
    assert [found.accuracy for found in rows(tmp_path)] == [80.0, 80.01]


@pytest.mark.parametrize(
    ("devices", "difference", "agree"),
    [
        (("cpu", "cpu"), 0.01, False),
        (("cuda", "cuda"), 0.25, True),
        (("cuda", "cuda"), 0.35, False),
        (("cpu", "cuda"), 0.25, True),
    ],
)
def test_rows_agree_exactly_on_a_cpu_and_within_a_tolerance_on_a_gpu(row, devices, difference, agree):
    first, second = devices
    assert row(device=first).agrees(row(device=second, accuracy=80 + difference)) is agree


def test_a_correction_replaces_the_row_it_names(row, tmp_path):
    wrong = row(accuracy=80.0)
    append(tmp_path, wrong)
    append(tmp_path, row(accuracy=85.0, supersedes=wrong.id))
    assert [found.accuracy for found in rows(tmp_path)] == [85.0]


def test_a_rows_id_survives_being_written(row, tmp_path):
    append(tmp_path, row(accuracy=100 / 3, changes={"dual.window": 5}))
    assert rows(tmp_path)[0].id == row(accuracy=100 / 3, changes={"dual.window": 5}).id


def test_a_torn_last_line_loses_that_row_alone_and_the_next_can_be_read(row, tmp_path):
    append(tmp_path, row(seed=0))
    path = path_of(tmp_path, row())
    whole = path.read_bytes()
    append(tmp_path, row(seed=1))
    both = path.read_bytes()
    for length in range(len(whole), len(both), 23):
        path.write_bytes(both[:length])
        assert [found.seed for found in read_file(path)[0]] == [0]
        append(tmp_path, row(seed=2))
        assert [found.seed for found in read_file(path)[0]] == [0, 2]
    assert read(tmp_path, "toys")[1] == [f"{path}: 1 damaged line(s) left out"]


def test_a_line_without_its_end_is_whole(row, tmp_path):
    append(tmp_path, row(seed=0))
    path = path_of(tmp_path, row())
    path.write_bytes(path.read_bytes()[:-1])
    append(tmp_path, row(seed=1))
    assert [found.seed for found in rows(tmp_path)] == [0, 1]


@pytest.mark.parametrize("wrong", [{"accuracy": 101.0}, {"ratio": 100}, {"seed": -1}, {"colour": "red"}])
def test_an_impossible_row_is_refused(row, wrong):
    with pytest.raises(ValidationError):
        row(**wrong)


def test_a_variant_cannot_leave_its_folder(row, tmp_path):
    path = path_of(tmp_path, row(method="near{near.backbone=../../open_clip/b 16}"))
    assert path.parent == tmp_path / "results" / "toys" / "toy"
    append(tmp_path, row(method="near{near.backbone=../../open_clip/b 16}"))
    assert rows(tmp_path)[0].method == "near{near.backbone=../../open_clip/b 16}"


def test_a_variant_has_a_file_on_any_disk(row, tmp_path):
    method = 'file{file.path=C:\\a<b>|c?*"50%"\n.csv}'
    append(tmp_path, row(method=method))
    path = path_of(tmp_path, row(method=method))
    assert path.name == "file{file.path=C%3A%5Ca%3Cb%3E%7Cc%3F%2A%2250%25%22%0A.csv}.jsonl"
    assert rows(tmp_path)[0].method == method


def test_a_folder_that_cannot_be_written_is_one_clear_line(row, tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(PrunebenchError, match=r"cannot write .*; choose another --results"):
        append(tmp_path, row())


def test_rows_as_a_table_of_pandas(row, tmp_path):
    append(tmp_path, row(seed=0, accuracy=80.0))
    append(tmp_path, row(seed=1, accuracy=82.0))
    assert results.frame(tmp_path, "toys").accuracy.mean() == 81.0


def test_variants_of_long_names_have_files_of_their_own(tmp_path, row):
    one, other = (row(method="elfs{" + "temi.heads=2," * 30 + f"temi.epochs={n}}}") for n in (1, 2))
    for variant in (one, other):
        assert append(tmp_path, variant)
    assert len({path_of(tmp_path, variant) for variant in (one, other)}) == 2
    assert {found.method for found in read(tmp_path, "toys")[0]} == {one.method, other.method}
