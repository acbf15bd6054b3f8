"""Verifications: kept beside rows, once for each machine, whatever happens to their file."""

import pytest

from prunebench.results.journal import Journal
from prunebench.results.rows import read, read_all, suites
from prunebench.results.verifications import append, confirmed, path_of, verification
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


@pytest.fixture
def verified_in(verified, tmp_path):
    """verified_in(*rows) verifies the first row, records all, and returns those that count as verified."""

    def names(*rows):
        journal = Journal(tmp_path)
        for one in rows:
            journal.append(one)
        append(tmp_path, verified())
        records = read_all(tmp_path, "toys")
        found = confirmed(records, read_verifications(tmp_path, "toys")[0])
        return [one.title for one in records.rows if one.id in found]

    return names


def test_a_verified_row_that_is_certified_afterwards_stays_verified(row, verified_in):
    assert verified_in(row(), row(title="certified", certified=True)) == ["certified"]


def test_so_does_one_that_is_superseded_twice(row, verified_in):
    second = row(title="second", certified=True, supersedes=row().id)
    third = row(title="third", commit="newer", certified=True, seed=1, supersedes=second.id)
    assert verified_in(row(), second, third) == ["third"]


@pytest.mark.parametrize("last", [81.0, 80.0])
def test_a_correction_is_not_verified_by_what_it_corrects(row, verified_in, last):
    """Nor is what comes after it."""
    first = row()
    wrong = row(title="wrong", seed=1, accuracy=81.0, supersedes=first.id)
    assert verified_in(first, wrong, row(seed=2, accuracy=last, supersedes=wrong.id)) == []


def test_a_certified_row_of_another_cell_is_not_verified(row, verified_in):
    assert verified_in(row(), row(title="other", seed=1, certified=True)) == [row().title]
