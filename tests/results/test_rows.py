"""Result rows on disk: appended once, never overwritten, readable whatever happened to the file."""

import hashlib
import os

import pytest
from pydantic import ValidationError

from prunebench.errors import PrunebenchError
from prunebench.results import rows as results
from prunebench.results.rows import LATER, Failure, Journal, Record, path_of, read, read_all, read_file
from prunebench.system.sealed_json import canonical


def rows(folder):
    return read(folder, "toys")[0]


def append(folder, row):
    return Journal(folder).append(row)


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
    first, second = (row(device=device) for device in devices)
    moved = second.model_copy(update={"accuracy": 80 + difference})
    assert first.agrees(moved, tolerance=0.3) is agree
    assert not first.agrees(moved)


def test_a_gpus_row_that_differs_at_all_is_kept(row, tmp_path):
    """Whether it agrees is asked of the whole page, which may grow."""
    assert append(tmp_path, row(device="cuda", accuracy=80.0))
    assert not append(tmp_path, row(device="cuda", accuracy=80.0, date="2026-02-02T00:00:00Z"))
    assert append(tmp_path, row(device="cuda", accuracy=80.01))
    assert [found.accuracy for found in rows(tmp_path)] == [80.0, 80.01]


def test_a_correction_replaces_the_row_it_names(row, tmp_path):
    wrong = row(accuracy=80.0)
    append(tmp_path, wrong)
    append(tmp_path, row(accuracy=85.0, supersedes=wrong.id))
    assert [found.accuracy for found in rows(tmp_path)] == [85.0]


def test_a_rows_id_survives_being_written(row, tmp_path):
    append(tmp_path, row(accuracy=100 / 3, changes={"dual.window": 5}))
    assert rows(tmp_path)[0].id == row(accuracy=100 / 3, changes={"dual.window": 5}).id


def test_a_row_without_a_certificate_or_counts_is_written_as_before_there_were_any(row, tmp_path):
    """So the ids and the bytes of old rows stay."""
    append(tmp_path, row())
    line = path_of(tmp_path, row()).read_bytes()
    assert b'"certified"' not in line
    assert b'"work"' not in line
    before = canonical(row().model_dump(exclude={*LATER}))
    assert row().id == hashlib.sha256(before.encode()).hexdigest()[:12]
    assert rows(tmp_path)[0].certified is False
    assert row(certified=True).id != row().id


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


def test_a_row_in_which_any_bit_changed_is_damaged(row, tmp_path):
    append(tmp_path, row(quality={"nmi": 1e-7}))
    path = path_of(tmp_path, row())
    line = path.read_bytes()
    bits = range(0, 8 * (len(line) - 1), 5)
    believed = []
    for bit in bits:
        changed = bytearray(line)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        believed += rows(tmp_path)
    assert all(found == row(quality={"nmi": 1e-7}) for found in believed)  # 1E-7 is the same number
    assert len(believed) < 5


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
    monkeypatch.setattr(results, "read_file", lambda path: read.append(path) or read_file(path))
    for seed in range(5):
        journal.append(row(seed=seed))
    assert len(read) == 1


def test_a_file_that_did_not_change_is_read_once_by_a_process(row, tmp_path, monkeypatch):
    append(tmp_path, row(seed=0))
    path, read = path_of(tmp_path, row()), []
    monkeypatch.setattr(results, "content_of", lambda path: read.append(path) or path.read_bytes())
    for count in (2, 4):  # within a moment, another change might not show
        assert [len(read_file(path).rows) for _ in range(2)] == [1, 1]
        assert len(read) == count
    os.utime(path, ns=(0, 0))
    assert [len(read_file(path).rows) for _ in range(2)] == [1, 1]
    assert len(read) == 5
    path.write_bytes(b"torn\n" + path.read_bytes())
    os.utime(path, ns=(0, 0))
    assert len(read_file(path).damaged) == 1


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
    monkeypatch.setattr(results, "read_file", lambda path: read.append(path) or read_file(path))
    one, other = Journal(tmp_path), Journal(tmp_path)
    for seed in range(0, 8, 2):
        assert one.append(row(seed=seed)) and other.append(row(seed=seed + 1))
        assert [one.append(row(seed=seed + 1)), other.append(row(seed=seed))] == [None, None]
    assert [found.seed for found in rows(tmp_path)] == [*range(8)]
    assert len(read) == 3  # each once, and this test


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
    path.write_bytes(harm(path.read_bytes(), results.line(row(seed=1).values)))
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
    monkeypatch.setattr(results, "lease", None)
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


@pytest.mark.parametrize(
    "edit",
    [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")],
    ids=["BOM", "CRLF"],
)
def test_what_editors_do_to_a_file_costs_no_row(row, tmp_path, edit):
    for seed in (0, 1):
        append(tmp_path, row(seed=seed))
    path = path_of(tmp_path, row())
    path.write_bytes(edit(path.read_bytes()))
    append(tmp_path, row(seed=2))
    assert [found.seed for found in rows(tmp_path)] == [0, 1, 2]
    assert read(tmp_path, "toys")[1] == []


def test_a_row_of_a_newer_version_is_kept_and_named_so(row, tmp_path):
    newer = results.line({**row(seed=0).model_dump(), "color": "red"})
    path = path_of(tmp_path, row())
    append(tmp_path, row(seed=1))
    path.write_bytes(newer + path.read_bytes() + b"torn")
    assert [found.seed for found in rows(tmp_path)] == [1]
    assert read(tmp_path, "toys")[1] == [
        f"{path.relative_to(tmp_path)}: 1 damaged line(s) left out; run their cells again",
        f"{path.relative_to(tmp_path)}: 1 row(s) of a newer version of prunebench left out",
    ]
    append(tmp_path, row(seed=2))
    assert path.read_bytes().startswith(newer)


@pytest.mark.parametrize(
    "text", ["3", "[]", "null", '{"check": 3}', "[" * 100_000, "{" * 9, "9" * 5000, "\x00"]
)
def test_whatever_stands_in_a_line_it_is_damaged(row, tmp_path, text):
    append(tmp_path, row())
    path = path_of(tmp_path, row())
    path.write_bytes(text.encode() + b"\n" + path.read_bytes())
    assert (len(read_file(path).damaged), len(rows(tmp_path))) == (1, 1)


def test_a_line_without_its_end_is_whole(row, tmp_path):
    append(tmp_path, row(seed=0))
    path = path_of(tmp_path, row())
    path.write_bytes(path.read_bytes()[:-1])
    append(tmp_path, row(seed=1))
    assert [found.seed for found in rows(tmp_path)] == [0, 1]


@pytest.mark.parametrize("wrong", [{"accuracy": 101.0}, {"ratio": 100}, {"seed": -1}, {"color": "red"}])
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


def test_a_dataset_of_a_long_name_has_a_folder_of_its_own(tmp_path, row):
    one, other = (row(dataset=f"folder-{'photos_' * 40}{n}-64") for n in (1, 2))
    for found in (one, other):
        assert append(tmp_path, found)
    assert len({path_of(tmp_path, found).parent for found in (one, other)}) == 2
    assert rows(tmp_path) == [one, other]


def test_a_folder_without_rows_is_no_suite(tmp_path, row):
    append(tmp_path, row())
    (tmp_path / "results" / "other" / "toy").mkdir(parents=True)
    (tmp_path / "results" / "notes.txt").write_text("a file")
    assert list(results.suites(tmp_path)) == ["toys"]


def test_variants_of_long_names_have_files_of_their_own(tmp_path, row):
    one, other = (row(method="elfs{" + "temi.heads=2," * 30 + f"temi.epochs={n}}}") for n in (1, 2))
    for variant in (one, other):
        assert append(tmp_path, variant)
    assert len({path_of(tmp_path, variant) for variant in (one, other)}) == 2
    assert {found.method for found in read(tmp_path, "toys")[0]} == {one.method, other.method}
