"""Result rows: what they say, the files they are in, and that these can be read whatever befell them."""

import hashlib
import os

import pytest
from pydantic import ValidationError

from prunebench.results import rows as results
from prunebench.results.journal import Journal
from prunebench.results.rows import LATER, path_of, read, read_file
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
