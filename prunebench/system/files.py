"""Atomic writes: a file is written whole or not at all. Every other module writes through this one."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from prunebench.errors import PrunebenchError

FULL = (errno.ENOSPC, errno.EDQUOT)
SETTLED = 2 * 10**9  # nanoseconds


def settled(changed: int) -> bool:
    """Whether a file's last change is so old that another one would show in its time, not in its size alone.

    changed: when that was, in nanoseconds since 1970.
    """
    return time.time_ns() - changed >= SETTLED


@contextmanager
def writing(path: Path, option: str = "--store") -> Iterator[None]:
    """Turn an OSError into one line: raise PrunebenchError with the path, the reason and the option.

    path: the file that is written inside.
    option: the command-line option that sets its folder.
    """
    try:
        yield
    except OSError as error:
        remedy = "free space or choose" if error.errno in FULL else "choose"
        raise PrunebenchError(f"cannot write {path}: {error.strerror}; {remedy} another {option}") from None


def replace_file(path: Path, content: bytes, option: str = "--store") -> None:
    """Write a file whole or not at all. It may replace an older file.

    The content goes to a file beside `path`, which is renamed once it is on the disk. If the write fails, the
    old file stays. Raise PrunebenchError if the file cannot be written.
    """
    with writing(path, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = beside_of(path)
        try:
            write_through(beside, content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_new(path: Path, content: bytes, option: str = "--output") -> bool:
    """Write a new file whole or not at all. Return False if the file exists and holds `content` already.

    Raise PrunebenchError if the file holds something else, or if it cannot be written.
    """
    with writing(path, option):
        if path.is_file() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = beside_of(path)
        try:
            if path.exists():
                raise FileExistsError
            write_through(beside, content)
            _take_name(beside, path)
        except FileExistsError:
            raise taken(path, option) from None
        finally:
            beside.unlink(missing_ok=True)
    return True


def taken(path: Path, option: str = "--output") -> PrunebenchError:
    """Return the error for a file that is no older one of ours, and so is never overwritten."""
    return PrunebenchError(
        f"{path} exists and holds something else, which may be your work; "
        f"remove it or choose another {option}"
    )


def write_folder(path: Path, wanted: Mapping[str, bytes | Path], option: str = "--output") -> bool:
    """Write a new folder whole or not at all. Return False if it exists and holds `wanted` already.

    wanted: the content of a file or the target of a link, by path in the folder.

    Raise PrunebenchError if the folder holds something else, or if it cannot be written.
    """
    with writing(path, option):
        if _holds(path, wanted):
            return False
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            raise PrunebenchError(
                f"{path} exists and holds something else; remove it or choose another {option}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = beside_of(path)
        try:
            for name, content in wanted.items():
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Path):
                    (beside / name).symlink_to(content)
                else:
                    write_through(beside / name, content)
            beside.replace(path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return True


def _holds(path: Path, wanted: Mapping[str, bytes | Path]) -> bool:
    """Whether a folder holds these files and links, and no others."""
    names = {
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_symlink() or not file.is_dir()
    }
    return names == wanted.keys() and all(_is(path / name, content) for name, content in wanted.items())


def _is(path: Path, content: bytes | Path) -> bool:
    """Whether this is a link to a path, or a file of this content."""
    if path.is_symlink() or isinstance(content, Path):
        return path.is_symlink() and path.readlink() == content
    return path.is_file() and path.read_bytes() == content


def beside_of(path: Path) -> Path:
    """Return a hidden path beside `path`, with the same beginning, that no other process or machine uses."""
    beginning = os.fsencode(path.name)[:100].decode(errors="ignore")  # a file name has at most 255 bytes
    return path.with_name(f".{beginning}.{uuid.uuid4().hex[:16]}")


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk. So a power cut leaves no empty file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _take_name(beside: Path, target: Path) -> None:
    """Rename a file. Raise FileExistsError if the target has appeared meanwhile."""
    try:
        os.link(beside, target)
    except FileExistsError:
        raise
    except OSError:  # some disks, such as memory cards, have no hard links
        if target.exists():
            raise FileExistsError from None
        with suppress(FileNotFoundError):
            beside.replace(target)


def home(path: str | Path) -> Path:
    """Return a path with ~ and ~user expanded. Raise PrunebenchError if there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise PrunebenchError(f"{path}: there is no home folder {user} here; write the whole path") from None


def absolute(path: str | Path) -> Path:
    """Return an absolute path with ~ expanded.

    Raise PrunebenchError if there is no such home folder, or if the working folder is gone.
    """
    try:
        return home(path).absolute()
    except FileNotFoundError:
        raise PrunebenchError(f"{path}: the working folder is gone; write the whole path") from None


def near(path: Path) -> Path:
    """Return a path relative to the working folder if it is inside, for messages. Else return it as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def check_folder(folder: Path, option: str) -> None:
    """Raise PrunebenchError if no files can be written in a folder. The folder need not exist yet.

    No file is left behind.

    folder: the folder.
    option: the command-line option that sets it.
    """
    with writing(folder, option):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        trial = beside_of(existing / "check")
        trial.touch()  # only an attempt shows whether a disk can be written
        trial.unlink()
