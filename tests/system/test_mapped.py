"""Rows of a mapped file: the same as by the map, for any view, and one clear line if the file is cut."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest

from prunebench import Images, PrunebenchError
from prunebench.parts.images import reader
from prunebench.system.mapped import MappedRows, has_readable_rows, is_mapped

SHAPE = (40, 3, 4, 4)
INDEX = np.array([7, 0, 19, 7, 3])


@pytest.fixture
def stored(tmp_path) -> np.memmap:
    """Images in a file, after a header."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(256, size=SHAPE, dtype=np.uint8))
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def read(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    out = np.zeros((len(index), *array.shape[1:]), np.uint8)
    MappedRows(array).read(index, out)
    return out


@pytest.mark.parametrize(
    "part",
    [
        slice(None),
        slice(20, None),
        slice(0, None, 2),  # every other row
        slice(None, None, -1),  # in reverse
    ],
)
def test_rows_are_those_of_the_map(stored, part) -> None:
    view = stored[part]
    assert has_readable_rows(view)
    assert np.array_equal(read(view, INDEX), view[INDEX])


def test_rows_of_a_view_that_forgot_its_map(stored) -> None:
    view = np.asarray(stored)[5:].view(np.ndarray)
    assert np.array_equal(read(view, INDEX), stored[5:][INDEX])


def test_what_cannot_be_read_by_rows(stored, tmp_path) -> None:
    assert not has_readable_rows(stored[:, :, ::2])  # a row has gaps
    assert not has_readable_rows(stored[:].copy())
    written = np.load(tmp_path / "images.npy", mmap_mode="c")  # its changes are in no file
    assert is_mapped(written) and not has_readable_rows(written)
    with tempfile.TemporaryFile() as nameless:
        nameless.truncate(64)
        assert not has_readable_rows(np.memmap(nameless, np.uint8, "r"))


def test_a_file_that_was_cut_is_told_in_one_line(stored, tmp_path) -> None:
    rows = MappedRows(stored)
    os.truncate(tmp_path / "images.npy", 300)
    with pytest.raises(PrunebenchError, match=r"images\.npy became shorter while it was read"):
        rows.read(np.array([20]), np.zeros((1, *SHAPE[1:]), np.uint8))


def test_the_file_is_closed_with_the_rows(stored) -> None:
    rows = MappedRows(stored)
    file = rows.file
    os.fstat(file)
    del rows
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_a_reader_of_a_subset_of_a_subset(stored, monkeypatch) -> None:
    """The rows come from the file. The map would fail."""
    images = Images(stored, mean=(0.5,) * 3, std=(0.25,) * 3)
    subset = images.take(np.arange(39, 9, -1)).take(np.arange(0, 30, 2))
    expected = stored[39:9:-1][::2][:4]
    out = np.zeros((4, *SHAPE[1:]), np.uint8)
    read_rows = reader(subset.array)
    with monkeypatch.context() as patched:
        patched.setattr(np.memmap, "__getitem__", None)
        read_rows(np.arange(4), out)
    assert np.array_equal(out, expected)


def test_a_reader_of_a_deleted_file_reads_the_map(stored, tmp_path) -> None:
    (tmp_path / "images.npy").unlink()
    out = np.zeros((len(INDEX), *SHAPE[1:]), np.uint8)
    reader(stored)(INDEX, out)
    assert np.array_equal(out, stored[INDEX])


def test_a_system_without_preadv_reads_the_map(stored, monkeypatch) -> None:
    """As Windows is."""
    monkeypatch.delattr(os, "preadv")
    out = np.zeros((len(INDEX), *SHAPE[1:]), np.uint8)
    reader(stored)(INDEX, out)
    assert np.array_equal(out, stored[INDEX])


def test_a_reader_of_an_array_in_memory(stored) -> None:
    array = np.array(stored)
    out = np.zeros((len(INDEX), *SHAPE[1:]), np.uint8)
    reader(array)(INDEX, out)
    assert np.array_equal(out, array[INDEX])
