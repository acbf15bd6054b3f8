"""The keys of datasets: hashes of their content, cached by path, size and time of their files."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.identity import third_party_code
from prunebench.pipeline import store
from prunebench.pipeline.store import Store
from prunebench.system import sealed_json
from prunebench.system.files import replace_file

TOGETHER = 256  # images per hash update, which bounds memory and has no effect on the hash


def dataset_key(dataset: Dataset, data: Path, memory: Store, *, look: bool = True) -> str:
    """Return the key of a dataset. The keys of all its stages depend on it.

    memory: the store that caches content hashes, by path, size and time of the files. A cached hash with a
        wrong checksum is computed again.
    look: whether to read the content if its hash is not cached.

    The key is a hash of the content. For a view it is a hash of the view and the key of its base.
    The key is `absent:NAME` if the files are missing, or if the hash is not cached and `look` is false. No
    stored stage matches that key.
    Raise PrunebenchError if a file changes while the content is read.
    """
    if isinstance(dataset, View):
        base = dataset_key(dataset.base, data, memory, look=look)
        if base.startswith("absent:"):
            return f"absent:{dataset.name}"
        values = {
            entry.name: getattr(dataset, entry.name)
            for entry in fields(dataset)
            if entry.name not in ("name", "base")
        }
        view = {"view": type(dataset).__name__, "fields": values} | third_party_code(type(dataset))
        return store.key("view", dataset.version, view, {"base": base})
    try:
        stamp = _stamp(dataset, data)
    except (DataAbsentError, FileNotFoundError):
        return f"absent:{dataset.name}"
    path = memory.root / "datasets" / f"{stamp}.json"
    cached = sealed_json.unsealed(path)
    if cached is not None and cached.get("stamp") == stamp:
        return str(cached["content"])
    if not look:
        return f"absent:{dataset.name}"
    content = _content_hash(dataset, data)
    if _stamp(dataset, data) != stamp:
        raise PrunebenchError(f"files of dataset {dataset.name} changed while they were read; run it again")
    replace_file(path, sealed_json.sealed({"stamp": stamp, "content": content}))
    return content


def roots_of(
    datasets: Collection[Dataset], data: Path, memory: Store, *, look: bool = True
) -> dict[str, str]:
    """Return the keys of datasets and of their pools, by name. Otherwise as `dataset_key`."""
    pools = [dataset.pool.dataset for dataset in datasets if dataset.pool is not None]
    return {dataset.name: dataset_key(dataset, data, memory, look=look) for dataset in (*datasets, *pools)}


def _stamp(dataset: Dataset, data: Path) -> str:
    """Return a hash of a dataset's fields, and of path, size and time of its files.

    Paths are absolute and without links, so that two folders never share a stamp.
    """
    folders: dict[Path, Path] = {}  # each folder is resolved once, not for each of a million files
    files = []
    for path in dataset.files(data):
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        files.append(_path_size_time(folders[path.parent] / path.name))
    stamp = {
        "class": [type(dataset).__qualname__, dataset.version],
        "fields": {entry.name: getattr(dataset, entry.name) for entry in fields(dataset)},
        "files": files,
    }
    return hashlib.sha256(sealed_json.canonical(stamp).encode()).hexdigest()


def _path_size_time(path: Path) -> tuple[str, int, int]:
    """Return path, size in bytes and time in ns of a file. A link is followed unless it is broken."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) and path.exists():
        path = path.resolve()
        status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def _content_hash(dataset: Dataset, data: Path) -> str:
    """Return a hash of the class names, the image names if there are any, and both splits."""
    digest = hashlib.sha256(sealed_json.canonical(list(dataset.classes)).encode())
    if names := dataset.names(data):
        digest.update(sealed_json.canonical(list(names)).encode())
    for split in ("train", "test"):
        for array in dataset.load(data, split):
            digest.update(sealed_json.canonical([list(array.shape), str(array.dtype)]).encode())
            for start in range(0, len(array), TOGETHER):  # never loads a whole memory map
                digest.update(np.ascontiguousarray(array[start : start + TOGETHER]).data)
    return digest.hexdigest()
