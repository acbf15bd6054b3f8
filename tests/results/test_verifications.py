"""Verifications: kept beside rows, once for each machine, whatever happens to their file."""

import pytest

from prunebench.results.journal import Journal
from prunebench.results.rows import read, suites
from prunebench.results.verifications import append, path_of, verification
from prunebench.results.verifications import read as read_verifications


@pytest.fixture
def verified(row):
    """verified(**here) is the verification of a row by a machine with these values."""
    return lambda **here: verification(row(), row(**{"device_name": "mine", "date": "later"} | here))


def test_a_verification_names_the_row_and_the_machine(row, verified, tmp_path):
    assert append(tmp_path, verified(accuracy=80.5))
    ((found,), complaints) = read_verifications(tmp_path, "toys")
    assert (found.row, found.method, found.ratio, found.seed) == (row().id, "random", 50, 0)
    assert (found.accuracy, found.device_name, found.date) == (80.5, "mine", "later")
    assert complaints == []


def test_it_is_no_row(row, verified, tmp_path):
    Journal(tmp_path).append(row())
    append(tmp_path, verified())
    assert read(tmp_path, "toys") == ([row()], [])
    assert [*suites(tmp_path)] == ["toys"]


def test_a_machine_verifies_a_row_once(verified, tmp_path):
    assert append(tmp_path, verified())
    assert not append(tmp_path, verified(date="much later"))
    assert append(tmp_path, verified(device_name="another"))
    assert append(tmp_path, verified(versions={"torch": "3"}))
    assert len(read_verifications(tmp_path, "toys")[0]) == 3


def test_a_changed_line_is_left_out_and_told(verified, tmp_path):
    append(tmp_path, verified())
    append(tmp_path, verified(device_name="another"))
    path = path_of(tmp_path, "toys")
    path.write_bytes(path.read_bytes().replace(b"another", b"nobodys") + b"{}\nnot JSON\n")
    found, complaints = read_verifications(tmp_path, "toys")
    assert [one.device_name for one in found] == ["mine"]
    assert complaints == ["results/toys/verified.jsonl: 3 line(s) left out, damaged or newer"]
