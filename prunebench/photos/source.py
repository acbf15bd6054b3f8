"""Photos that are no files in a folder: packed in shards, or on the hub."""

from __future__ import annotations

from pathlib import Path

from prunebench.parts.registry import load
from prunebench.runs import places
from prunebench.runs.places import Place


def folder_of(source: str | Path, data: Place = None) -> Path:
    """Return the folder of photos that a source means: itself, or that into which FAMILY:PATH is unpacked.

    source: a folder, or a family of datasets and a path, such as "parquet:shards" or "hf:user/beans".
    data: the data folder, where photos are unpacked, once.

    Raise PrunebenchError if photos cannot be unpacked.
    """
    family, colon, path = str(source).partition(":")
    unpack = getattr(load().found["datasets"].get(family), "unpack", None)
    if not colon or unpack is None or Path(source).exists():
        return Path(source)
    folder: Path = unpack(path, places.folder("data", data))
    return folder
