"""Archives that have to be unpacked, safely; and downloaded, where they still can be.

A gzipped tar archive can only be read from its start to its end, so photos cannot be looked up in it.
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
# A zip archive may also be encrypted, or packed in a way that Python does not know: the last two.
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError),
    *(RuntimeError, NotImplementedError),
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A gzipped tar archive, or a zip archive that holds one, as published.

    name: of the file. folder: what is in it, and becomes a folder beside it. members, size: it has no more
    files and folders, and no more bytes unpacked. digest: its MD5, in hex, or "" where none was published.
    inner: the name of the tar archive within a zip archive. url: where it can be downloaded, or "".
    """

    name: str
    folder: str
    members: int
    size: int
    digest: str = ""
    inner: str = ""
    url: str = ""


class _RefusedError(Exception):
    """Says what an archive holds that it must not."""


def unpack(archive: Archive, path: Path, *, verify: bool = True) -> None:
    """Unpack the archive at `path` into the folder beside it: whole, or not at all.

    Nothing but plain files and folders is made, none outside, and not more than the archive is known to
    hold. Where another process unpacks it, wait for that. verify: whether it has to be the published file.
    Raise PrunebenchError where it is not, where it is damaged or something else, where it is refused, and
    where the disk does not take it.
    """
    target = path.parent / archive.folder
    if target.exists():
        raise PrunebenchError(f"{target} is not whole: move it away, and {path.name} takes its place")
    signature = ZIP if archive.inner else GZIP
    try:
        with _making(target) as part:
            if part is None:
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
    """Download the archive with torchvision and return where it is; raise whatever goes wrong.

    Where another process downloads it, wait for that. torchvision's own datasets would unpack it, and follow
    any path that it names.
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
    """Yield a folder in which to make what `target` becomes; None where another process made it meanwhile.

    It is called .NAME.part.TOKEN, and nobody else is in it. What a process that was killed left there goes
    with the next one. Where another process took over, which it does when this one was stopped for long,
    what the other one makes counts.
    """
    path, making = target.with_name(f".{target.name}"), f"making {target.name}"
    with lease(path, making, "--data") as held:
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
    with lease(path, making, "--data"):
        if not target.exists():
            raise PrunebenchError(f"another process began to make {target} and gave up; run it again")


def _clear(target: Path) -> None:
    """Delete what others left half-made, under a new name, so that none of them can take it for its own."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.part.????????"):
        gone = left.with_name(f"{left.name}.gone")
        with suppress(OSError):
            left.rename(gone)
    for gone in target.parent.glob(f".{glob.escape(target.name)}.part.*.gone"):
        shutil.rmtree(gone, ignore_errors=True)


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
            place = part / _checked(member)
            (place if member.isdir() else place.parent).mkdir(parents=True, exist_ok=True)
            if not member.isdir():
                with place.open("wb") as file:
                    shutil.copyfileobj(tar.extractfile(member), file, BLOCK)


def _inner(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    found = [n for n in archive.namelist() if PurePosixPath(n).name == name]
    if not found:
        raise _RefusedError(f"it holds no {name}")
    return archive.open(min(found, key=len))


def _checked(member: tarfile.TarInfo) -> PurePosixPath:
    """Return where a member goes, relative to the folder that is unpacked to; refuse what goes elsewhere.

    What is made here is never a link, so a path without steps upwards stays below. tarfile's own filter
    is not in every Python 3.11.
    """
    path = PureWindowsPath(member.name)  # which sees a drive and backslashes too
    if path.anchor or ".." in path.parts:
        raise _RefusedError(f"it holds {member.name!r}, which leads out of it")
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _RefusedError(f"it holds {member.name!r}, which is a link or no plain file")
    return PurePosixPath(*path.parts)


class _Bounded:
    """The bytes of an unpacked archive, up to so many: a few kilobytes can say a terabyte of zeros."""

    def __init__(self, file: gzip.GzipFile, size: int) -> None:
        self.file, self.size, self.left = file, size, size

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; refuse the archive once there were more than `size`."""
        content = self.file.read(count)
        self.left -= len(content)
        if self.left < 0:
            raise _RefusedError(f"unpacked it has more than {self.size} bytes")
        return content
