"""Copies of datasets as people have them: folders and archives, read in place, and whether they are whole.

Nothing is unpacked here, so an archive can write nowhere; for those that have to be, see `archives`.
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

GZIP, ZIP = b"\x1f\x8b", b"PK"
ALGORITHMS = {32: "md5", 64: "sha256"}  # by the length of the digest, in hex digits
LARGEST = 2**28  # bytes of one file in an archive; the largest that is needed has 155 million
DEPTH = 2  # folders below the top that are looked into


def read_tar(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of the files called `names`, in whatever folder of a tar archive they lie.

    The archive is gzipped or not. Raise PrunebenchError where it is none, is damaged or lacks a file.
    """
    found: dict[str, bytes] = {}
    # The first bytes decide rather than the name: some browsers gunzip what they save.
    mode: Literal["r:gz", "r:"] = "r:gz" if _start(path).startswith(GZIP) else "r:"
    try:
        with tarfile.open(path, mode) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in names and member.isfile() and member.size <= LARGEST:
                    found[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
                if len(found) == len(names):
                    return found
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise damaged(path, GZIP, error) from None
    missing = [name for name in names if name not in found]
    raise PrunebenchError(f"{path} holds no {', '.join(missing)}. Delete it and get it again.")


@dataclass(frozen=True)
class Tree:
    """Files below one place on disk. names: relative to it, parts joined by "/". read: name -> content."""

    place: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]


def folder_tree(top: Path, folders: Collection[str]) -> Tree:
    """Return the files in the named folders of `top` and two levels of folders below those; no clutter."""
    names = [name for folder in folders for name in _below(top, folder, DEPTH)]
    return Tree(top, tuple(names), lambda name: (top / name).read_bytes())


def _below(top: Path, folder: str, depth: int) -> Iterator[str]:
    with os.scandir(top / folder) as entries:  # which asks the disk about no single file, as Path does
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if is_clutter(entry.name):
                continue
            if entry.is_file():
                yield name
            elif depth and entry.is_dir():
                yield from _below(top, name, depth - 1)


def zip_tree(path: Path, folder: str) -> Tree:
    """Return the files in `folder`, at whatever depth of a zip archive it lies; the outermost such counts.

    The archive stays open as long as the tree is kept. Raise PrunebenchError where it is damaged or has
    no such folder.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise damaged(path, ZIP, error) from None
    inside = f"/{folder}/"
    prefixes = {f"/{name}".partition(inside)[0] for name in archive.namelist() if inside in f"/{name}"}
    if not prefixes:
        raise PrunebenchError(f"{path} holds no folder {folder}. Delete it and get it again.")
    top = f"{min(prefixes, key=len)}/"[1:]
    names = [n for n in archive.namelist() if n.startswith(f"{top}{folder}/") and not n.endswith("/")]
    names = [n for n in names if not any(map(is_clutter, n.removeprefix(top).split("/")))]

    def read(name: str) -> bytes:
        with archive.open(top + name) as member:
            return member.read(LARGEST)  # however much a member claims to be

    return Tree(path, tuple(name.removeprefix(top) for name in names), read)


def tar_tree(path: Path, folder: str) -> Tree:
    """Return the files in `folder`, at whatever depth of a tar archive it lies, packed in any way or not.

    All are read at once, as such an archive can only be read from its start to its end. Raise PrunebenchError
    where it is damaged, has no such folder, or holds more than 256 MiB there.
    """
    found: dict[str, bytes] = {}
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
                found[f"{folder}/{name}"] = archive.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        reason = " ".join(str(error).split())
        raise PrunebenchError(
            f"{path} is not a whole archive: {reason}. Delete it and get it again."
        ) from None
    if not found:
        raise PrunebenchError(f"{path} holds no folder {folder}. Delete it and get it again.")
    return Tree(path, tuple(found), found.__getitem__)


def text_lines(content: bytes) -> list[str]:
    """Return the lines of a list; editors leave a mark at its start."""
    return content.removeprefix(codecs.BOM_UTF8).decode("latin1").splitlines()


def damaged(path: Path, signature: bytes, error: Exception | str) -> PrunebenchError:
    """Return the error for an archive that cannot be read; `signature` is how its kind begins."""
    start = _start(path)
    # A saved error page may carry the name of an archive.
    reason = " ".join(str(error).split()) if start.startswith(signature) else f"it begins with {start!r}"
    return PrunebenchError(f"{path} is not a whole archive: {reason}. Delete it and get it again.")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def check_digest(content: bytes, digest: str, where: str) -> None:
    """Raise PrunebenchError unless the content has the MD5 or SHA256 of the published file, in hex."""
    algorithm = ALGORITHMS[len(digest)]
    _check_digest(hashlib.new(algorithm, content, usedforsecurity=False).hexdigest(), digest, where)


def check_file(path: Path, digest: str) -> None:
    """Raise PrunebenchError unless the file, of any size, has the MD5 or SHA256 given in hex."""
    with path.open("rb") as file:
        _check_digest(hashlib.file_digest(file, ALGORITHMS[len(digest)]).hexdigest(), digest, f"{path}")


def _check_digest(found: str, digest: str, where: str) -> None:
    if found != digest:
        algorithm = ALGORITHMS[len(digest)]
        raise PrunebenchError(
            f"{where} is not the published file: its {algorithm} is {found}, expected {digest}. Get it again."
        )


def check_sizes(labels: Array, classes: tuple[str, ...], per_class: int, where: str) -> None:
    """Raise PrunebenchError unless each class has `per_class` images. labels: int [n], in 0..C-1."""
    sizes = np.bincount(labels, minlength=len(classes))
    odd = np.flatnonzero(sizes != per_class)
    if odd.size:
        raise PrunebenchError(
            f"{where} has {len(labels)} images, expected {per_class} of each of {len(classes)} classes; "
            f"{odd.size} differ, such as {classes[odd[0]]!r} with {sizes[odd[0]]}. Get it again."
        )


def check_spread(
    labels: Array, classes: tuple[str, ...], total: int, low: int | Array, high: int | Array, where: str
) -> None:
    """Raise PrunebenchError unless there are `total` images, and `low` to `high` of each class.

    labels: int [n], in 0..C-1. low, high: int, or int [C].
    """
    sizes = np.bincount(labels, minlength=len(classes))
    odd = np.flatnonzero((sizes < low) | (sizes > high))
    if odd.size or len(labels) != total:
        such = f"; {odd.size} differ, such as {classes[odd[0]]!r} with {sizes[odd[0]]}" if odd.size else ""
        raise PrunebenchError(
            f"{where} has {len(labels)} images, expected {total} of {len(classes)} classes{such}. "
            "Get it again."
        )


def check_there(tree: Tree, files: Collection[str], where: str) -> None:
    """Raise PrunebenchError unless the tree has all the files that the list called `where` names."""
    missing = sorted(set(files).difference(tree.names))
    if missing:
        raise PrunebenchError(
            f"{tree.place} lacks {len(missing)} of the {len(files)} images that {where} names, such as "
            f"{missing[0]}. Get it again."
        )
