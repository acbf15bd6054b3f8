"""WebDataset: tar files in which the files of one sample have one name and several endings."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import is_clutter
from prunebench.photos.formats import formats
from prunebench_plugins.datasets.io.copies import LARGEST, Tree, damaged
from prunebench_plugins.datasets.io.shards import Rows, ShardedPhotos

NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")  # key and ending of a file, as webdataset splits them
LABELS = ("cls", "json")  # the endings of files with labels, the first that is there counts
LABEL_BYTES = 2**20  # a file with a label has no more
CLASS_NAMES = "classnames.txt"  # beside the shards, a class a line, as clip-benchmark writes it


@dataclass(frozen=True, kw_only=True)
class WebDataset(ShardedPhotos):
    """Images in tar files, with the label of KEY.jpg in KEY.cls or KEY.json. Written webdataset:PATH@PIXELS.

    The order is that of the sorted tar files, and of the files in each. The tar files are read in place, so
    they may not be compressed.
    A label is a number, or text. In a .json it is the entry "label". classnames.txt in the folder names the
    classes, one a line.

    Source: A. Aizman, G. Maltby and T. Breuel, High Performance I/O For Large Scale Deep Learning, 2019, and
    the library `webdataset`.
    """

    patterns: ClassVar[tuple[str, ...]] = ("*.tar",)
    lists: ClassVar[tuple[str, ...]] = (CLASS_NAMES,)
    name: str = "webdataset"

    def read(self, shards: Sequence[Path]) -> Rows:
        """Return the images and labels in tar files. Raise PrunebenchError if one is not as expected."""
        paths = {path.relative_to(self.top).as_posix(): path for path in shards}
        archives = {name: _archive(path) for name, path in paths.items()}
        names = tuple(f"{name}/{file}" for name, archive in archives.items() for file in archive.images)

        def read(name: str) -> bytes:
            shard, _, file = name.partition(".tar/")
            start, size = archives[f"{shard}.tar"].images[file]
            with paths[f"{shard}.tar"].open("rb") as opened:
                opened.seek(start)
                return opened.read(min(size, LARGEST))

        def read_labels() -> tuple[Array, tuple[str, ...]]:
            labels = [label for name, archive in archives.items() for label in archive.labels(paths[name])]
            return np.array(labels, dtype=np.str_), self._class_names()

        return Rows(Tree(self.top, names, read, tuple(shards)), names, read_labels)

    def _class_names(self) -> tuple[str, ...]:
        """Return the lines of classnames.txt, or () without it. Raise PrunebenchError if two are equal."""
        path = self.top / CLASS_NAMES
        if not path.is_file():
            return ()
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PrunebenchError(f"{path} cannot be read ({error}); save it as UTF-8") from None
        names = tuple(line.strip() for line in lines if line.strip())
        if len(set(names)) < len(names):
            raise PrunebenchError(f"{path} has a class twice; give each a name of its own")
        return names


@dataclass(frozen=True, eq=False)
class _Archive:
    """A tar file.

    images: start and size in bytes of each image, by its name in the tar file.
    samples: the files of the sample of each image, by its key: start and size by ending.
    """

    images: Mapping[str, tuple[int, int]]
    samples: Mapping[str, Mapping[str, tuple[int, int]]]

    def labels(self, path: Path) -> list[str]:
        """Return the label of each image, as text. Raise PrunebenchError if one has none."""
        return [_label(path, key, sample) for key, sample in self.samples.items()]


def _archive(path: Path) -> _Archive:
    """Return where the images of a tar file are.

    Raise PrunebenchError if the file is no tar file, or compressed, or a sample has no image.
    """
    images = {}
    samples = {}
    for key, sample in _samples(path).items():
        found = [ending for ending in sample if f".{ending.rpartition('.')[2].lower()}" in formats()]
        if not found and not sample.keys() & LABELS:
            continue  # a file beside the samples
        if len(found) != 1:
            raise PrunebenchError(
                f"{path} has {len(found) or 'no'} images of the sample {key!r}, expected one"
            )
        images[f"{key}.{found[0]}"] = sample[found[0]]
        samples[key] = sample
    if not images:
        raise PrunebenchError(f"{path} holds no images ({', '.join(sorted(formats()))})")
    return _Archive(images, samples)


def _samples(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Return start and size of each file of a tar file, by key and ending."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                parts = NAME.fullmatch(member.name)
                if parts is None or any(map(is_clutter, member.name.removeprefix("./").split("/"))):
                    continue
                if not member.isreg() or member.issparse():
                    if member.isdir():
                        continue
                    raise PrunebenchError(
                        f"{path} holds {member.name!r}, which is no plain file; pack it anew"
                    )
                key, ending = parts.groups()
                if ending in samples.setdefault(key, {}):
                    raise PrunebenchError(
                        f"{path} holds {member.name!r} twice; pack it anew, with unique keys"
                    )
                samples[key][ending] = member.offset_data, member.size
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise damaged(path, b"", f"{error} (is it compressed? then unpack it first)") from None
    return samples


def _label(path: Path, key: str, sample: Mapping[str, tuple[int, int]]) -> str:
    """Return the label of a sample, in KEY.cls or else in KEY.json."""
    ending = next((ending for ending in LABELS if ending in sample), None)
    if ending is None:
        raise PrunebenchError(f"{path} has no label of the sample {key!r}: expected {key}.cls or {key}.json")
    start, size = sample[ending]
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(min(size, LABEL_BYTES))
    try:
        value = content.decode().strip() if ending == "cls" else json.loads(content)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        value = None
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    if not is_text or len(str(value).strip().splitlines()) != 1:
        expected = "a class" if ending == "cls" else 'an object with a class as "label"'
        raise PrunebenchError(f"{path} holds {content[:40]!r} in {key}.{ending}, expected {expected}")
    return str(value).strip()
