"""The keys of datasets: hashes of their content, remembered by what tells that it is the same."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import fields
from pathlib import Path

import numpy as np

from prunebench.errors import DataAbsentError, PrunebenchError
from prunebench.parts.dataset import Dataset, View
from prunebench.parts.identity import foreign_code
from prunebench.pipeline import store
from prunebench.pipeline.store import Store
from prunebench.system import sealed_json
from prunebench.system.files import replace_file

TOGETHER = 256  # images that are hashed in one go; has no effect on the hash


def dataset_key(dataset: Dataset, data: Path, memory: Store, *, look: bool = True) -> str:
    """Return the key at the root of all stages of a dataset.

    It is the hash of the content, remembered by path, size and time of the files; for a view, a key
    made from the base's. What is remembered has a checksum, and the content is read again where it is
    damaged. Where the files are absent the key is absent:NAME, which nothing stored matches; so it is,
    without `look`, where the content is not remembered and would have to be read.
    """
    if isinstance(dataset, View):
        base = dataset_key(dataset.base, data, memory, look=look)
        own = {e.name: getattr(dataset, e.name) for e in fields(dataset) if e.name not in ("name", "base")}
        if base.startswith("absent:"):
            return f"absent:{dataset.name}"
        view = {"view": type(dataset).__name__, "fields": own} | foreign_code(type(dataset))
        return store.key("view", dataset.version, view, {"base": base})
    try:
        stamp = _stamp(dataset, data)
    except (DataAbsentError, FileNotFoundError):
        return f"absent:{dataset.name}"
    path = memory.root / "datasets" / f"{stamp}.json"
    note = sealed_json.unsealed(path)
    if note is not None and note.get("stamp") == stamp:
        return str(note["content"])
    if not look:
        return f"absent:{dataset.name}"
    content = _content_hash(dataset, data)
    if _stamp(dataset, data) != stamp:
        raise PrunebenchError(f"files of dataset {dataset.name} changed while they were read; run it again")
    replace_file(path, sealed_json.sealed({"stamp": stamp, "content": content}))
    return content


def _stamp(dataset: Dataset, data: Path) -> str:
    """Return a hash of a dataset's fields and of path, size and time of its files.

    Paths are whole and without links: two folders are never taken for one, wherever they are named.
    """
    folders: dict[Path, Path] = {}  # resolved once, not for each of a million files in them
    files = []
    for path in dataset.files(data):
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        files.append(_facts(folders[path.parent] / path.name))
    stamp = {
        "class": [type(dataset).__qualname__, dataset.version],
        "fields": {entry.name: getattr(dataset, entry.name) for entry in fields(dataset)},
        "files": files,
    }
    return hashlib.sha256(sealed_json.canonical(stamp).encode()).hexdigest()


def _facts(path: Path) -> tuple[str, int, int]:
    """Return path, size and time of a file that a link leads to; of a link that leads nowhere, its own."""
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode) and path.exists():
        path = path.resolve()
        facts = path.stat()
    return str(path), facts.st_size, facts.st_mtime_ns


def _content_hash(dataset: Dataset, data: Path) -> str:
    """Hash the class names, every image and label of both splits, and the names of images that have some."""
    digest = hashlib.sha256(sealed_json.canonical(list(dataset.classes)).encode())
    if names := dataset.names(data):
        digest.update(sealed_json.canonical(list(names)).encode())
    for split in ("train", "test"):
        for array in dataset.load(data, split):
            digest.update(sealed_json.canonical([list(array.shape), str(array.dtype)]).encode())
            for start in range(0, len(array), TOGETHER):  # so that no memory map is read at once
                digest.update(np.ascontiguousarray(array[start : start + TOGETHER]).data)
    return digest.hexdigest()
