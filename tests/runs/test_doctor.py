"""What `doctor` says of the disk of a store."""

from pathlib import Path

import pytest

from prunebench.runs.doctor import _disk


def test_a_disk_that_serves_leaves_nothing_behind(tmp_path):
    assert _disk(tmp_path) == "its disk renames, lists, touches and deletes, as a store needs it"
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    assert _disk(tmp_path / "store") == "not there yet; run makes it"
    assert list(tmp_path.iterdir()) == []


def refuses(*_given):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("lacks", "instead", "told"),
    [
        ("replace", refuses, "rename a folder: Operation not permitted"),
        ("mkdir", refuses, "write a file: Operation not permitted"),
        ("iterdir", lambda _path: [], "list a folder: the file in it is gone"),
    ],
)
def test_what_a_disk_cannot_do_is_named(tmp_path, monkeypatch, lacks, instead, told):
    monkeypatch.setattr(Path, lacks, instead)
    assert _disk(tmp_path) == f"its disk cannot serve as a store: {told}"


def test_a_disk_that_keeps_its_own_times_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.utime", lambda *_given: None)
    assert _disk(tmp_path).endswith("touch a file: its time stays")
