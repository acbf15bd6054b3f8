"""Closed folders: whoever opens a file in one is noticed, in whatever way and thread, and others are not."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.system.closed import closed, lent, real_folder


@pytest.fixture
def secret(tmp_path):
    """A file in a folder that tests close."""
    path = tmp_path / "secrets" / "labels.npy"
    path.parent.mkdir()
    np.save(path, np.arange(3))
    return path


def close(secret):
    return closed(frozenset({real_folder(str(secret))}), "the part")


def in_a_thread(path):
    with ThreadPoolExecutor() as pool:
        return pool.submit(np.load, path).result()


def swallowed(path):
    try:
        return np.load(path)
    except OSError:
        return None


WAYS = {
    "NumPy": np.load,
    "open": lambda path: path.open(),
    "bytes": lambda path: open(os.fsencode(path)),  # noqa: PTH123, SIM115
    "os.open": lambda path: os.open(path, os.O_RDONLY),
    "a list": lambda path: os.listdir(path.parent),  # noqa: PTH208
    "a walk": lambda path: [*path.parent.parent.rglob("*")],
    "a link": lambda path: np.load(path.parent.parent / "link" / path.name),
    "a relative path": lambda path: np.load(os.path.relpath(path)),
    "another thread": in_a_thread,
    "an error that is swallowed": swallowed,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_in_a_closed_folder_is_noticed_however_it_is_opened(secret, way, tmp_path):
    (tmp_path / "link").symlink_to(secret.parent)
    with pytest.raises(PrunebenchError) as error, close(secret):
        WAYS[way](secret)
    assert str(error.value).startswith("the part opens ")
    assert "Truth reaches a part only as `known_labels`" in str(error.value)


def test_all_else_may_be_opened(secret, tmp_path):
    (secret.parent / "deeper").mkdir()
    with close(secret):
        (secret.parent / "deeper" / "note.txt").write_text("inside another folder")
        (tmp_path / "note.txt").write_text("beside")
        assert [path.name for path in tmp_path.glob("*.txt")] == ["note.txt"]


def test_the_core_may_open_what_it_lends(secret):
    with close(secret), lent():
        assert in_a_thread(secret).tolist() == [0, 1, 2]


def test_a_folder_is_open_again_afterwards(secret):
    with pytest.raises(PrunebenchError), close(secret):
        Path(secret).read_bytes()
    assert np.load(secret).tolist() == [0, 1, 2]
    with close(secret):  # what was noticed before is forgotten
        pass


def test_an_error_of_the_code_itself_stays(secret):
    with pytest.raises(ValueError, match="its own"), close(secret):
        raise ValueError("its own")
