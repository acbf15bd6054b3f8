"""Downloads archives and unpacks them safely.

A gzipped tar archive can only be read from start to end, so single photos cannot be read from it.
"""

from __future__ import annotations

import glob
import gzip
import shutil
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from prunebench.errors import PrunebenchError
from prunebench.system.leases import lease
from prunebench_plugins.datasets.io.copies import GZIP, ZIP, check_file, damaged

BLOCK = 2**20  # bytes read at a time
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # an encrypted zip archive
    NotImplementedError,  # a zip archive compressed in a way that Python does not know
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A published archive: a gzipped tar archive, or a zip archive with such an archive inside.

    name: file name.
    folder: the one folder in it. It is unpacked next to the archive.
    members: upper limit of its files and folders.
    size: upper limit of its bytes after unpacking.
    digest: its MD5 in hex, or "" if none was published.
    inner: name of the tar archive inside a zip archive, or "" for a tar archive.
    url: address to download it from, or "" if there is none.
    """

    name: str
    folder: str
    members: int
    size: int
    digest: str = ""
    inner: str = ""
    url: str = ""


class _RefusedError(Exception):
    """An archive holds something that it must not. The message names it."""


def unpack(archive: Archive, path: Path, *, verify: bool = True) -> None:
    """Unpack the archive at `path` next to it, completely or not at all.

    Writes plain files and folders only, none outside the folder, and no more than the limits of `archive`.
    Waits if another process unpacks the same archive.

    verify: whether the file must have the published digest.

    Raise PrunebenchError if the digest differs, or if the archive is damaged or holds something forbidden.
    Raise PrunebenchError if the disk is full or cannot be written.
    """
    target = path.parent / archive.folder
    if target.exists():
        raise PrunebenchError(f"{target} is incomplete: move it away, then {path.name} is unpacked")
    signature = ZIP if archive.inner else GZIP
    try:
        with _making(target) as part:
            if part is None:  # another process unpacked it
                return
            with path.open("rb") as file:
                if file.read(len(signature)) != signature:
                    raise damaged(path, signature, "")
            if verify and archive.digest:
                check_file(path, archive.digest)
            _extract(archive, path, part)
            if not (part / archive.folder).is_dir():
                raise PrunebenchError(f"{path} holds no {archive.folder}. Delete it and get it again.")
    except _RefusedError as error:
        raise PrunebenchError(f"{path} is not unpacked: {error}. Delete it and get it again.") from None
    except DAMAGE as error:
        raise damaged(path, signature, error) from None
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be unpacked: {' '.join(str(error).split())}") from None


def download(archive: Archive, folder: Path) -> Path:
    """Download the archive with torchvision and return its path.

    Waits if another process downloads the same archive. Exceptions of the download are passed on.
    The dataset classes of torchvision are not used: they unpack the archive and follow any path in it.
    """
    from torchvision.datasets.utils import download_url

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.name
    with _making(target) as part:
        if part is not None:
            download_url(archive.url, str(part), archive.name, archive.digest)
    return target


@contextmanager
def _making(target: Path) -> Iterator[Path | None]:
    """Yield an empty folder in which to make `target`, then move it there.

    Yields None if another process has made the target meanwhile.
    The folder is called .NAME.part.TOKEN, so no two processes share one. The next process deletes the
    folders of killed ones.
    If this process is stopped for long, another one takes over, and its result is used.
    Raise PrunebenchError if the other process gave up.
    """
    path = target.with_name(f".{target.name}")
    activity = f"making {target.name}"
    with lease(path, activity, "--data") as held:
        _clear(target)
        if target.exists():
            yield None
            return
        part = target.with_name(f".{target.name}.part.{uuid.uuid4().hex[:8]}")
        part.mkdir()
        try:
            yield part
            if held.held():
                (part / target.name).rename(target)
                return
        finally:
            shutil.rmtree(part, ignore_errors=True)
    # The lease was lost: wait for the process that took over.
    with lease(path, activity, "--data"):
        if not target.exists():
            raise PrunebenchError(f"another process began to make {target} and gave up; run it again")


def _clear(target: Path) -> None:
    """Delete the unfinished folders of other processes.

    They are renamed first: a process that wakes up then fails instead of finding half of its files.
    """
    for unfinished in target.parent.glob(f".{glob.escape(target.name)}.part.????????"):
        with suppress(OSError):
            unfinished.rename(unfinished.with_name(f"{unfinished.name}.gone"))
    for renamed in target.parent.glob(f".{glob.escape(target.name)}.part.*.gone"):
        shutil.rmtree(renamed, ignore_errors=True)


def _extract(archive: Archive, path: Path, part: Path) -> None:
    with ExitStack() as stack:
        packed: IO[bytes] = stack.enter_context(path.open("rb"))
        if archive.inner:
            packed = stack.enter_context(_inner(stack.enter_context(zipfile.ZipFile(packed)), archive.inner))
        plain = _Bounded(stack.enter_context(gzip.GzipFile(fileobj=packed)), archive.size)
        tar = stack.enter_context(tarfile.open(fileobj=plain, mode="r|", bufsize=BLOCK))  # type: ignore[call-overload]
        for count, member in enumerate(tar, 1):
            if count > archive.members:
                raise _RefusedError(f"it holds more than {archive.members} files and folders")
            target = part / _checked(member)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file, BLOCK)


def _inner(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    members = [member for member in archive.namelist() if PurePosixPath(member).name == name]
    if not members:
        raise _RefusedError(f"it holds no {name}")
    return archive.open(min(members, key=len))  # the outermost


def _checked(member: tarfile.TarInfo) -> PurePosixPath:
    """Return the path of a member below the folder that is unpacked to.

    Links are never made, so a path without ".." stays below the folder. The filter of `tarfile` is missing
    in early releases of Python 3.11.
    Raise _RefusedError if the path leads out of the folder, or the member is no plain file or folder.
    """
    path = PureWindowsPath(member.name)  # also splits drives and backslashes
    if path.anchor or ".." in path.parts:
        raise _RefusedError(f"it holds {member.name!r}, which leads out of it")
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _RefusedError(f"it holds {member.name!r}, which is a link or no plain file")
    return PurePosixPath(*path.parts)


class _Bounded:
    """The unpacked bytes of a gzipped file, up to `size`: a few kilobytes can unpack to a terabyte."""

    def __init__(self, file: gzip.GzipFile, size: int) -> None:
        self.file = file
        self.size = size
        self.left = size

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes. Raise _RefusedError after more than `size` bytes in all."""
        content = self.file.read(count)
        self.left -= len(content)
        if self.left < 0:
            raise _RefusedError(f"unpacked it has more than {self.size} bytes")
        return content
