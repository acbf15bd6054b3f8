"""Files written whole or not at all. Every other module writes through this one."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prunebench.errors import PrunebenchError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: Path, option: str = "--store") -> Iterator[None]:
    """Turn an OSError while `path` is written into one line. `option` chooses where that is.

    Raise PrunebenchError with the path, the reason and the option.
    """
    try:
        yield
    except OSError as error:
        remedy = "free space or choose" if error.errno in FULL else "choose"
        raise PrunebenchError(f"cannot write {path}: {error.strerror}; {remedy} another {option}") from None


def replace_file(path: Path, content: bytes, option: str = "--store") -> None:
    """Write a file whole or not at all: beside the target first, then renamed over it.

    The content is on the disk before the name is. A write that fails leaves the old file.
    Raise PrunebenchError where it cannot be written.
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
    """Write a file whole or not at all, never over another. Return False where it holds `content` already.

    Raise PrunebenchError where it holds something else, or cannot be written.
    """
    with writing(path, option):
        if path.is_file() and path.read_bytes() == content:
            return False
        beside = beside_of(path)
        try:
            if path.exists():
                raise FileExistsError
            write_through(beside, content)
            _take_name(beside, path)
        except FileExistsError:
            raise PrunebenchError(
                f"{path} exists and holds something else, which may be your work; "
                f"remove it or choose another {option}"
            ) from None
        finally:
            beside.unlink(missing_ok=True)
    return True


def beside_of(path: Path) -> Path:
    """Return a hidden name beside `path`, begun like it, that no other process or machine uses."""
    begun = os.fsencode(path.name)[:100].decode(errors="ignore")  # a name may take 255 bytes in all
    return path.with_name(f".{begun}.{uuid.uuid4().hex[:16]}")


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it, so that a power cut leaves no empty file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _take_name(beside: Path, target: Path) -> None:
    """Rename a file; raise FileExistsError rather than write over what appeared there meanwhile."""
    try:
        os.link(beside, target)
    except FileExistsError:
        raise
    except OSError:  # some disks, such as memory cards, have no links
        if target.exists():
            raise FileExistsError from None
        with suppress(FileNotFoundError):
            beside.replace(target)


def home(path: str | Path) -> Path:
    """Return a path with ~ and ~user spelled out. Raise PrunebenchError where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise PrunebenchError(f"{path}: there is no home folder {user} here; write the whole path") from None


def absolute(path: str | Path) -> Path:
    """Return a path that stays the same whatever becomes of the working folder, ~ spelled out.

    Raise PrunebenchError where there is no such home, or no working folder.
    """
    try:
        return home(path).absolute()
    except FileNotFoundError:
        raise PrunebenchError(f"{path}: the working folder is gone; write the whole path") from None


def near(path: Path) -> Path:
    """Return a path as short as it may be written from the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def check_folder(folder: Path, option: str) -> None:
    """Raise PrunebenchError where files cannot be written in a folder that is there or to be made.

    Nothing is left behind. `option` chooses the folder.
    """
    with writing(folder, option):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        beside = beside_of(there / "check")
        beside.touch()  # a disk that is not to be written says so to whoever tries
        beside.unlink()
