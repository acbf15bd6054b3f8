"""Files are written whole or not at all, and nothing of a user's is written over."""

import errno
import os

import pytest

from prunebench.errors import PrunebenchError
from prunebench.system import files
from prunebench.system.files import replace_file, write_folder, write_new
from tests.photo_folders import listing


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that is full once the name is taken and half of the content is on it."""

    def half(path, content):
        path.write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_through", half)


def test_a_full_disk_leaves_the_old_file(tmp_path, full_disk):
    (tmp_path / "page.md").write_text("old")
    with pytest.raises(PrunebenchError, match=r"^cannot write .*: No space left on device; free space or"):
        replace_file(tmp_path / "page.md", b"new content")
    assert (tmp_path / "page.md").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_no_new_file(tmp_path, full_disk):
    with pytest.raises(PrunebenchError, match="No space left"):
        write_new(tmp_path / "kept.csv", b"new content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 255, "\N{SNOWMAN}" * 85])
def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path, name):
    replace_file(tmp_path / name, b"a")
    assert (tmp_path / name).read_bytes() == b"a"


def test_the_option_in_the_message_is_the_one_that_chose_the_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PrunebenchError, match=r"choose another --results$"):
        replace_file(tmp_path / "file" / "page.md", b"", "--results")


@pytest.mark.parametrize("write", [write_new, replace_file])
def test_the_folder_of_a_file_is_made(tmp_path, write):
    write(tmp_path / "a" / "b" / "kept.csv", b"a")
    assert (tmp_path / "a" / "b" / "kept.csv").read_bytes() == b"a"


def test_nothing_is_written_over(tmp_path):
    path = tmp_path / "kept.csv"
    assert write_new(path, b"a\n")
    before = listing(tmp_path)
    assert not write_new(path, b"a\n")
    with pytest.raises(PrunebenchError, match=r"exists and holds something else, which may be your work"):
        write_new(path, b"b\n")
    assert listing(tmp_path) == before and path.read_text() == "a\n"


@pytest.mark.parametrize("linking", [True, False])
def test_what_appears_meanwhile_is_not_written_over(tmp_path, monkeypatch, linking):
    """Somebody else writes the same file between the look at it and the end."""
    path, link = tmp_path / "kept.csv", os.link

    def late(source, target):
        path.write_text("mine\n")
        if not linking:
            raise PermissionError(1, "Operation not permitted")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(PrunebenchError, match=r"exists and holds something else, which may be your work"):
        write_new(path, b"a\n")
    assert path.read_text() == "mine\n" and list(tmp_path.iterdir()) == [path]


def test_a_disk_without_links_is_written(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert write_new(tmp_path / "kept.csv", b"a\n")
    assert (tmp_path / "kept.csv").read_text() == "a\n" and len([*tmp_path.iterdir()]) == 1


def test_a_folder_is_written_once_with_its_files_and_links(tmp_path):
    wanted = {"a/b.txt": b"1", "link": tmp_path / "gone"}
    assert [write_folder(tmp_path / "new", wanted) for _ in range(2)] == [True, False]
    assert (tmp_path / "new/a/b.txt").read_bytes() == b"1"
    assert (tmp_path / "new/link").readlink() == tmp_path / "gone"
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize(
    "other",
    [{"a": b"2"}, {"a": b"1", "b": b"1"}, {"b": b"1"}, {"a": "link"}],
    ids=["content", "more", "name", "link"],
)
def test_a_folder_with_something_else_stays(tmp_path, other):
    write_folder(tmp_path / "new", {"a": b"1"})
    before = listing(tmp_path)
    wanted = {name: tmp_path / "x" if content == "link" else content for name, content in other.items()}
    with pytest.raises(PrunebenchError, match="new exists and holds something else; remove it or choose ano"):
        write_folder(tmp_path / "new", wanted)
    assert listing(tmp_path) == before


def test_a_file_in_place_of_a_folder_stays(tmp_path):
    (tmp_path / "new").write_text("mine")
    with pytest.raises(PrunebenchError, match="exists and holds something else"):
        write_folder(tmp_path / "new", {"a": b"1"})
    assert (tmp_path / "new").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "new").mkdir()
    assert write_folder(tmp_path / "new", {"a": b"1"})
    assert (tmp_path / "new/a").read_bytes() == b"1"


def test_a_full_disk_leaves_no_folder(tmp_path, full_disk):
    with pytest.raises(PrunebenchError, match="No space left"):
        write_folder(tmp_path / "new", {"a": b"1", "b": b"2"})
    assert [*tmp_path.iterdir()] == []
