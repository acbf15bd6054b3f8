"""Writes photos that are packed in shards as files of their own, for people to look at and to label."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from prunebench.errors import PrunebenchError
from prunebench.photos.folder import is_clutter
from prunebench.photos.formats import formats
from prunebench.system.files import beside_of, writing
from prunebench.system.sealed_json import canonical
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding_bar import bar

UNKNOWN = ".jpg"  # the ending of what is no image: so it counts as one that cannot be read


def unpacked(tree: Tree, names: Sequence[str], root: Path) -> Path:
    """Return the folder root/unpacked/NAME-HASH, in which each image of a tree is a file. It is made once.

    The bytes of an image stay as they are. A call that is killed leaves a folder that the next one completes.

    names: name of each image for users. If they are not all names of image files, those of the tree are
        taken. Of these, one without an ending gets that of its format.
    root: the data folder.

    Raise PrunebenchError if the disk lacks room, or if a file cannot be written.
    """
    shards = tree.packed or [tree.path / name for name in tree.names]
    stamp = [str(tree.path.resolve()), *names, *map(_size_and_time, shards)]
    digest = hashlib.sha256(canonical(stamp).encode()).hexdigest()[:12]
    folder = root / "unpacked" / f"{tree.path.resolve().name}-{digest}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    with writing(partial, "--data"):
        partial.mkdir(parents=True, exist_ok=True)
    needed, free = sum(path.stat().st_size for path in shards), shutil.disk_usage(partial).free
    if needed > free:
        raise PrunebenchError(
            f"the images of {tree.path} need {needed / 1e9:.1f} GB as files, but {root} has "
            f"{free / 1e9:.1f} GB; choose another --data"
        )
    files = names if all(map(_is_plain, names)) else tree.names
    with bar("Unpacking", len(files)) as update:
        for done, (packed, file) in enumerate(zip(tree.names, files, strict=True), 1):
            _write(tree, packed, partial, file)
            update(done)
    with writing(folder, "--data"):
        partial.rename(folder)
    return folder


def _write(tree: Tree, packed: str, folder: Path, file: str) -> None:
    """Write an image, unless it is there."""
    has_ending = _has_ending(file)
    if has_ending and (folder / file).is_file():
        return
    try:
        content = tree.read(packed)
    except ValueError:  # the table has no bytes of it
        content = b""
    path = folder / (file if has_ending else file + _ending(content))
    with writing(path, "--data"):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = beside_of(path)
        beside.write_bytes(content)
        beside.replace(path)


def _is_plain(name: str) -> bool:
    """Whether a name is that of an image file in a folder, and one that nobody passes over."""
    parts = name.split("/")
    return _has_ending(name) and not any(not part or is_clutter(part) for part in parts)


def _has_ending(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in formats()


def _ending(content: bytes) -> str:
    """Return the ending of an image by its content."""
    from PIL import Image

    endings = {format: ending for ending, format in formats().items()}
    try:
        with Image.open(io.BytesIO(content)) as image:
            return endings.get(image.format or "", UNKNOWN)
    except Exception:  # a decoder may raise anything on damaged bytes
        return UNKNOWN


def _size_and_time(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
