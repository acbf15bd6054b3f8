"""Rows are appended once and never overwritten, and a damaged file is mended with the next row."""

import pytest

from prunebench.errors import PrunebenchError
from prunebench.results import journal as journals
from prunebench.results.journal import Journal
from prunebench.results.rows import Failure, Record, line, path_of, read, read_all, read_file


def rows(folder):
    return read(folder, "toys")[0]


def append(folder, row):
    return Journal(folder).append(row)


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


def test_a_gpus_row_that_differs_at_all_is_kept(row, tmp_path):
    """Whether it agrees is asked of the whole page, which may grow."""
    assert append(tmp_path, row(device="cuda", accuracy=80.0))
    assert not append(tmp_path, row(device="cuda", accuracy=80.0, date="2026-02-02T00:00:00Z"))
    assert append(tmp_path, row(device="cuda", accuracy=80.01))
    assert [found.accuracy for found in rows(tmp_path)] == [80.0, 80.01]


def test_a_certificate_is_added_once_to_a_cell_that_has_a_row(row, tmp_path):
    assert append(tmp_path, row())
    assert append(tmp_path, row(certified=True))
    assert not append(tmp_path, row(certified=True, date="2026-02-02T00:00:00Z"))
    assert not append(tmp_path, row(date="2026-02-02T00:00:00Z"))
    assert rows(tmp_path) == [row(certified=True, supersedes=row().id)]


def test_a_certificate_replaces_the_row_of_another_machine_if_both_say_the_same(row, tmp_path):
    other = row(device_name="another")
    assert append(tmp_path, other)
    assert append(tmp_path, row(certified=True))
    assert rows(tmp_path) == [row(certified=True, supersedes=other.id)]


def test_a_certificate_replaces_no_row_of_another_accuracy(row, tmp_path):
    others = [row(device_name="another", accuracy=71.0), row(accuracy=70.0)]
    for one in (*others, row(certified=True)):
        assert append(tmp_path, one)
    assert rows(tmp_path) == [*others, row(certified=True)]


def test_a_torn_last_line_loses_that_row_alone_and_goes_with_the_next(row, tmp_path):
    append(tmp_path, row(seed=0))
    path = path_of(tmp_path, row())
    whole = path.read_bytes()
    append(tmp_path, row(seed=1))
    both = path.read_bytes()
    for length in range(len(whole) + 1, len(both) - 1, 23):
        path.write_bytes(both[:length])
        assert [found.seed for found in rows(tmp_path)] == [0]
        assert read(tmp_path, "toys")[1] == [
            f"{path.relative_to(tmp_path)}: 1 damaged line(s) left out; run their cells again"
        ]
        append(tmp_path, row(seed=2))
        assert [found.seed for found in rows(tmp_path)] == [0, 2]
        assert read(tmp_path, "toys")[1] == []


def test_a_damaged_row_is_written_again_and_what_is_left_of_it_set_aside(row, tmp_path):
    journal = Journal(tmp_path)
    for seed in (0, 1):
        journal.append(row(seed=seed))
    path = path_of(tmp_path, row())
    path.write_bytes(path.read_bytes().replace(b'"accuracy": 80.0', b'"accuracy": 89.0', 1))
    assert [found.seed for found in rows(tmp_path)] == [1]
    assert journal.append(row(seed=0))
    assert not journal.append(row(seed=1))
    assert [found.accuracy for found in rows(tmp_path)] == [80.0, 80.0]
    assert b'"accuracy": 89.0' in path.with_name("random.jsonl.damaged").read_bytes()
    assert b'"accuracy": 89.0' not in path.read_bytes()


def test_rows_of_two_runners_at_once_are_all_there_once(row, tmp_path):
    one, other = Journal(tmp_path), Journal(tmp_path)
    assert one.append(row(seed=0)) and other.append(row(seed=1))
    assert [one.append(row(seed=1)), other.append(row(seed=0))] == [None, None]
    assert [found.seed for found in rows(tmp_path)] == [0, 1]


def test_a_file_is_read_once_however_many_rows_come(row, tmp_path, monkeypatch):
    append(tmp_path, row(seed=99))
    read, journal = [], Journal(tmp_path)
    monkeypatch.setattr(journals, "read_file", lambda path: read.append(path) or read_file(path))
    for seed in range(5):
        journal.append(row(seed=seed))
    assert len(read) == 1


def test_the_row_of_an_accuracy_is_found_by_its_cell_key_and_date(row, tmp_path):
    assert Journal(tmp_path).find(row(), "ab", "now") is None
    append(tmp_path, row(seed=0, accuracy=70.0))
    append(tmp_path, row(seed=1, accuracy=90.0))
    path = path_of(tmp_path, row())
    path.write_bytes(path.read_bytes() + b"torn")
    journal = Journal(tmp_path)
    append(tmp_path, failure(row, "diverged", seed=2))
    key, date = row().accuracy_key, row().date
    assert journal.find(row(seed=1), key, date) == row(seed=1, accuracy=90.0)
    others = [(2, key, date), (1, "cd", date), (1, key, "")]
    assert [journal.find(row(seed=seed), *accuracy) for seed, *accuracy in others] == [None] * 3
    append(tmp_path, row(seed=2))
    assert journal.find(row(seed=2), key, date) == row(seed=2)


def test_of_two_runners_in_turns_each_reads_only_what_the_other_added(row, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(journals, "read_file", lambda path: read.append(path) or read_file(path))
    one, other = Journal(tmp_path), Journal(tmp_path)
    for seed in range(0, 8, 2):
        assert one.append(row(seed=seed)) and other.append(row(seed=seed + 1))
        assert [one.append(row(seed=seed + 1)), other.append(row(seed=seed))] == [None, None]
    assert [found.seed for found in rows(tmp_path)] == [*range(8)]
    assert len(read) == 2  # each once


@pytest.mark.parametrize(
    ("harm", "left"),
    [
        (lambda text, new: text.replace(b'"accuracy": 80.0', b'"accuracy": 89.0') + new, [1, 0]),
        (lambda text, new: text + new[:-20], [0]),
        (lambda text, new: text + b"torn\n" + new, [0, 1]),
        (lambda text, new: new + text, [1, 0]),
    ],
    ids=["the last line that it saw", "the end", "between", "before"],
)
def test_what_is_no_addition_is_read_and_healed_as_a_whole(row, tmp_path, harm, left):
    journal = Journal(tmp_path)
    journal.append(row(seed=0))
    path = path_of(tmp_path, row())
    path.write_bytes(harm(path.read_bytes(), line(row(seed=1).values)))
    appended = [journal.append(row(seed=0)), journal.append(row(seed=2))]
    assert [one is not None for one in appended] == [left == [1, 0] and b"89.0" in damaged(path), True]
    assert [found.seed for found in rows(tmp_path)] == [*left, 2]
    assert read(tmp_path, "toys")[1] == []


def damaged(path):
    beside = path.with_name("random.jsonl.damaged")
    return beside.read_bytes() if beside.exists() else b""


def test_a_row_that_is_there_asks_for_no_lease(row, tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append(row(seed=0))
    monkeypatch.setattr(journals, "lease", None)
    assert journal.append(row(seed=0)) is None
    path = path_of(tmp_path, row())
    path.write_bytes(path.read_bytes() + b"torn")
    with pytest.raises(TypeError):
        journal.append(row(seed=0))


def test_a_failure_is_on_record_once_and_until_its_cell_has_a_row(row, tmp_path):
    journal = Journal(tmp_path)
    outcomes = [journal.append(failure(row, why)) for why in ("diverged", "diverged", "out of memory")]
    assert [outcome is not None for outcome in outcomes] == [True, False, True]
    assert [one.failed for one in read_all(tmp_path, "toys").failures] == ["diverged", "out of memory"]
    assert journal.append(row())
    assert read_all(tmp_path, "toys").failures == []
    assert not Journal(tmp_path).append(failure(row, "again"))


def failure(row, why, **values):
    known = row(**values).model_dump()
    return Failure(**{name: known[name] for name in Record.model_fields}, failed=why)


def test_a_folder_that_cannot_be_written_is_one_clear_line(row, tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(PrunebenchError, match=r"cannot write .*; choose another --results"):
        append(tmp_path, row())
