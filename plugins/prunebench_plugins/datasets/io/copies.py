"""Reads datasets from folders and archives in place, and checks that the copy is complete.

Nothing is unpacked here, so an archive cannot write anything. The module `archives` unpacks.
"""

from __future__ import annotations

import codecs
import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import is_clutter

GZIP = b"\x1f\x8b"  # the first bytes of a gzipped file
ZIP = b"PK"  # the first bytes of a zip archive
ALGORITHMS = {32: "md5", 64: "sha256"}  # by the length of the digest, in hex digits
LARGEST = 2**28  # bytes read of one file in an archive; the largest file of a dataset has 155 million
DEPTH = 2  # levels of folders that are searched below each named folder


def read_tar(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of the named files, in any folder of a tar archive, gzipped or not.

    Raise PrunebenchError if the archive is damaged, is no archive or lacks a file.
    """
    contents: dict[str, bytes] = {}
    # The first bytes decide, not the file name: some browsers gunzip while they save.
    mode: Literal["r:gz", "r:"] = "r:gz" if _start(path).startswith(GZIP) else "r:"
    try:
        with tarfile.open(path, mode) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in names and member.isfile() and member.size <= LARGEST:
                    contents[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
                if len(contents) == len(names):
                    return contents
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise damaged(path, GZIP, error) from None
    missing = [name for name in names if name not in contents]
    raise PrunebenchError(f"{path} holds no {', '.join(missing)}. Delete it and get it again.")


@dataclass(frozen=True)
class Tree:
    """Files in a folder or in an archive.

    path: the folder or the archive.
    names: files relative to it, parts joined by "/".
    read: returns the content of a named file.
    packed: the files in the folder that hold the named ones. Empty if these are files of their own.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]
    packed: tuple[Path, ...] = ()


def folder_tree(top: Path, folders: Collection[str]) -> Tree:
    """Return the files in the named folders of `top`, and up to two levels below them.

    Clutter is left out, such as hidden files.
    """
    names = [name for folder in folders for name in _below(top, folder, DEPTH)]
    return Tree(top, tuple(names), lambda name: (top / name).read_bytes())


def _below(top: Path, folder: str, depth: int) -> Iterator[str]:
    with os.scandir(top / folder) as entries:  # unlike Path, scandir does not stat each file
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if is_clutter(entry.name):
                continue
            if entry.is_file():
                yield name
            elif depth and entry.is_dir():
                yield from _below(top, name, depth - 1)


def zip_tree(path: Path, folder: str) -> Tree:
    """Return the files in `folder` of a zip archive, at any depth. The outermost such folder is used.

    The archive stays open as long as the tree exists.
    Raise PrunebenchError if it is damaged or has no such folder.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise damaged(path, ZIP, error) from None
    # A leading slash makes a folder at the top look like one at any depth.
    inside = f"/{folder}/"
    prefixes = {f"/{name}".partition(inside)[0] for name in archive.namelist() if inside in f"/{name}"}
    if not prefixes:
        raise PrunebenchError(f"{path} holds no folder {folder}. Delete it and get it again.")
    top = f"{min(prefixes, key=len)}/".removeprefix("/")
    names = []
    for member_name in archive.namelist():
        if not member_name.startswith(f"{top}{folder}/") or member_name.endswith("/"):
            continue
        name = member_name.removeprefix(top)
        if not any(map(is_clutter, name.split("/"))):
            names.append(name)

    def read(name: str) -> bytes:
        with archive.open(top + name) as member:
            return member.read(LARGEST)  # a small member may unpack to terabytes

    return Tree(path, tuple(names), read)


def tar_tree(path: Path, folder: str) -> Tree:
    """Return the files in `folder` of a tar archive, at any depth, compressed or not.

    All files are read at once: a compressed tar archive can only be read from start to end.
    Raise PrunebenchError if the archive is damaged or has no such folder.
    Raise PrunebenchError if the folder holds more than 256 MiB.
    """
    contents: dict[str, bytes] = {}
    left = LARGEST
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                _, inside, name = f"/{member.name}".partition(f"/{folder}/")
                if not inside or not member.isfile() or any(map(is_clutter, name.split("/"))):
                    continue
                left -= member.size
                if left < 0:
                    raise PrunebenchError(f"{path} holds more than {LARGEST} bytes in {folder}")
                content = archive.extractfile(member).read()  # type: ignore[union-attr]
                contents[f"{folder}/{name}"] = content
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        reason = " ".join(str(error).split())
        raise PrunebenchError(
            f"{path} is not a whole archive: {reason}. Delete it and get it again."
        ) from None
    if not contents:
        raise PrunebenchError(f"{path} holds no folder {folder}. Delete it and get it again.")
    return Tree(path, tuple(contents), contents.__getitem__)


def text_lines(content: bytes) -> list[str]:
    """Return the lines of a text file, without the byte order mark that some editors write."""
    return content.removeprefix(codecs.BOM_UTF8).decode("latin1").splitlines()


def damaged(path: Path, signature: bytes, error: Exception | str) -> PrunebenchError:
    """Return the error for an archive that cannot be read. `signature`: first bytes of such archives."""
    start = _start(path)
    reason = " ".join(str(error).split())
    if not start.startswith(signature):  # often an error page, saved under the name of the archive
        reason = f"it begins with {start!r}"
    return PrunebenchError(f"{path} is not a whole archive: {reason}. Delete it and get it again.")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def check_digest(content: bytes, digest: str, source: str) -> None:
    """Raise PrunebenchError unless the content has the digest, MD5 or SHA256 in hex.

    source: name of the file in the message.
    """
    algorithm = ALGORITHMS[len(digest)]
    _check_digest(hashlib.new(algorithm, content, usedforsecurity=False).hexdigest(), digest, source)


def check_file(path: Path, digest: str) -> None:
    """Raise PrunebenchError unless the file, of any size, has the digest, MD5 or SHA256 in hex."""
    with path.open("rb") as file:
        _check_digest(hashlib.file_digest(file, ALGORITHMS[len(digest)]).hexdigest(), digest, f"{path}")


def _check_digest(actual: str, digest: str, source: str) -> None:
    if actual != digest:
        algorithm = ALGORITHMS[len(digest)]
        raise PrunebenchError(
            f"{source} is not the published file: its {algorithm} is {actual}, expected {digest}. "
            "Get it again."
        )


def check_sizes(labels: Array, classes: tuple[str, ...], per_class: int, source: str) -> None:
    """Raise PrunebenchError unless each class has `per_class` images.

    labels: int [n], in 0..C-1.
    source: name of the file or folder in the message.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    wrong = np.flatnonzero(sizes != per_class)
    if wrong.size:
        raise PrunebenchError(
            f"{source} has {len(labels)} images, expected {per_class} of each of {len(classes)} classes; "
            f"{wrong.size} differ, such as {classes[wrong[0]]!r} with {sizes[wrong[0]]}. Get it again."
        )


def check_spread(
    labels: Array, classes: tuple[str, ...], total: int, low: int | Array, high: int | Array, source: str
) -> None:
    """Raise PrunebenchError unless there are `total` images, and `low` to `high` of each class.

    labels: int [n], in 0..C-1.
    low, high: one number for all classes, or int [C].
    source: name of the file or folder in the message.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    wrong = np.flatnonzero((sizes < low) | (sizes > high))
    if wrong.size or len(labels) != total:
        example = ""
        if wrong.size:
            example = f"; {wrong.size} differ, such as {classes[wrong[0]]!r} with {sizes[wrong[0]]}"
        raise PrunebenchError(
            f"{source} has {len(labels)} images, expected {total} of {len(classes)} classes{example}. "
            "Get it again."
        )


def check_there(tree: Tree, files: Collection[str], source: str) -> None:
    """Raise PrunebenchError unless the tree has all files of a list. `source`: name of the list."""
    missing = sorted(set(files).difference(tree.names))
    if missing:
        raise PrunebenchError(
            f"{tree.path} lacks {len(missing)} of the {len(files)} images that {source} names, such as "
            f"{missing[0]}. Get it again."
        )
