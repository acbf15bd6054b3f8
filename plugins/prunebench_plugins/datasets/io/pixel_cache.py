"""Decoded photos on disk, mapped into memory: made once, resumed after a kill, whole or not there.

DATA/decoded/KEY/pixels       uint8 [m, 3, side, side], in the order of the names
DATA/decoded/KEY/facts.json   checksums of the pixels, which files were bad or odd, and a checksum of itself
DATA/decoded/KEY/bad.txt      the bad files for people to read; odd.txt likewise
DATA/decoded/KEY.part/        the same being made, with a journal from which it is resumed
DATA/decoded/KEY.TOKEN        who makes it at the moment: see `prunebench.system.leases`
DATA/decoded/KEY.bad.txt      of photos that are not kept here: which were bad

All of it may be deleted while nothing runs. Pixels whose size or times are not as they were left are read
and compared with their checksums before they are used, and decoded again where they differ. Reading all of
them each time would take longer than some trainings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunebench.errors import BusyError, PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.system.files import replace_file, writing
from prunebench.system.leases import Lease, lease
from prunebench.system.sealed_json import sealed, unsealed
from prunebench_plugins.datasets.io.blocks import Found, bar, blocks
from prunebench_plugins.datasets.io.copies import Tree

VERSION = 1  # bump when the pixels of the same file change
LOST = 32 * 2**20  # bytes of pixels between two lines of the journal: about what a kill loses
Chunks = list[tuple[int, str]]  # where each chunk of the pixels ends, and its sha256


@dataclass(frozen=True, eq=False)
class Work:
    """Named photos of a tree, to be decoded at `side` pixels; home: the folder `decoded`, written to late.

    cache: whether the pixels are kept, or only what was found in looking through the files.
    """

    tree: Tree
    names: tuple[str, ...]
    side: int
    cache: bool
    home: Path

    @property
    def row(self) -> int:
        """Bytes of one photo."""
        return 3 * self.side**2

    def stamp(self) -> tuple[str, int]:
        """Return the key of what is decoded, and the bytes of the files that it is decoded from.

        The key is made of place, names, sizes and times; of an archive, its size and time alone count.
        """
        place = self.tree.place
        digest = hashlib.sha256(os.fsencode(f"{VERSION} {self.side} {self.cache} {place.resolve()}\n"))
        archive, total = place.is_file(), 0
        if archive:
            total, changed = _size_and_time(str(place))
            digest.update(f"{total} {changed}\n".encode())
        for name in self.names:
            digest.update(os.fsencode(f"{name}\0"))
            if not archive:
                size, changed = _size_and_time(f"{place}/{name}")
                digest.update(f"{size} {changed}\n".encode())
                total += max(size, 0)
        return digest.hexdigest(), total

    def in_memory(self) -> tuple[Array | None, Found]:
        """Decode all photos into memory; return no pixels where none are to be kept."""
        found, parts = Found(), [np.empty((0, 3, self.side, self.side), np.uint8)]
        with bar(f"decoding {self.tree.place}", len(self.names)) as tell:
            for block in blocks(self.tree, self.names, self.side):
                found.add(block)
                parts += [block.pixels] if self.cache else []
                tell(found.names)
        return np.concatenate(parts) if self.cache else None, found

    def on_disk(self, key: str) -> tuple[Array | None, Found]:
        """Map the decoded photos into memory, after decoding those that were not."""
        folder = self.home / key
        while (found := self._stored(folder)) is None:
            with (
                lease(self.home / key, f"decoding {self.tree.place}", "--data") as held,
                suppress(BusyError),  # another process took over: what that one decodes counts
            ):
                if self._stored(folder) is None:
                    self._make(key, held)
        if not self.cache:
            return None, found
        shape = (found.names - len(found.bad), 3, self.side, self.side)
        if not shape[0]:  # nothing cannot be mapped
            return np.empty(shape, np.uint8), found
        return np.memmap(folder / "pixels", np.uint8, "r", shape=shape), found

    def listed(self, key: str, found: Found) -> str:
        """Say which file lists all bad files; write it, where nothing is kept on disk. "" if that fails."""
        path = self.home / key / "bad.txt"
        if path.is_file():
            return f", all listed in {path}"
        path = self.home / f"{key}.bad.txt"
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._lines(found.bad))
        except OSError:  # the bad files are what has to be told
            return ""
        return f", all listed in {path}"

    def _stored(self, folder: Path) -> Found | None:
        """Return what was found when this was decoded; None where that is not there, or not whole."""
        facts = unsealed(folder / "facts.json")
        if facts is None or (self.cache and not _whole(folder, facts)):
            return None
        found = Found()
        found.take(facts)
        return found

    def _make(self, key: str, held: Lease) -> None:
        """Decode into KEY.part, going on where a killed process stopped, and rename it when it is whole.

        Raise BusyError where the lease is lost meanwhile.
        """
        folder, part = self.home / key, self.home / f"{key}.part"
        with writing(part, "--data"):
            part.mkdir(exist_ok=True)
        found, chunks = self._resumed(part)
        self._check_room(found)
        with bar(f"decoding {self.tree.place}", len(self.names)) as tell:
            for names in self._blocks(part, found, chunks):
                if not held.held():
                    raise BusyError(key)
                tell(names)
        with writing(part, "--data"):
            (part / "bad.txt").write_bytes(self._lines(found.bad))
            (part / "odd.txt").write_bytes(self._lines(found.odd))
            facts = {**found.since(0), "chunks": chunks, "left": _left(part / "pixels")}
            (part / "facts.json").write_bytes(sealed(facts))
            shutil.rmtree(folder, ignore_errors=True)  # what is there is not whole
            part.replace(folder)
            (folder / "journal").unlink()
        if found.bad or found.odd:
            sys.stderr.write(
                f"{self.tree.place}: {len(found.bad)} of {len(self.names)} images cannot be read, "
                f"{len(found.odd)} are odd: bad.txt and odd.txt in {folder} list them\n"
            )

    def _resumed(self, part: Path) -> tuple[Found, Chunks]:
        """Return what the journal says, and cut pixels and journal to where both are whole."""
        found, chunks, good = Found(), Chunks(), 0
        pixels, journal = part / "pixels", part / "journal"
        with writing(part, "--data"):
            pixels.touch()
            journal.touch()
            with pixels.open("rb") as file:
                for line in journal.read_bytes().splitlines(keepends=True):
                    try:
                        ahead = Found(found.names, found.bad, found.odd)
                        ahead.take(json.loads(line))
                        chunk = self._bytes(ahead), str(json.loads(line)["sha256"])
                    except (ValueError, KeyError, TypeError):
                        break
                    content = file.read(chunk[0] - self._bytes(found))
                    if not line.endswith(b"\n") or hashlib.sha256(content).hexdigest() != chunk[1]:
                        break
                    found, good = ahead, good + len(line)
                    chunks.append(chunk)
            os.truncate(journal, good)
            os.truncate(pixels, self._bytes(found))
        return found, chunks

    def _bytes(self, found: Found) -> int:
        return (found.names - len(found.bad)) * self.row if self.cache else 0

    def _check_room(self, found: Found) -> None:
        needed = (len(self.names) - found.names) * self.row if self.cache else 0
        free = shutil.disk_usage(self.home).free
        if needed > free:
            raise PrunebenchError(
                f"decoding {len(self.names)} images at {self.side} pixels needs {needed / 1e9:.1f} GB in "
                f"{self.home}, which has {free / 1e9:.1f} GB; delete what other photos left there, "
                "choose another --data or fewer pixels, or decode them in each epoch (cache = false)"
            )

    def _blocks(self, part: Path, found: Found, chunks: Chunks) -> Iterator[int]:
        """Write pixels, and a line to the journal once they are on the disk; yield how many names are done.

        Pixels are written to their place, not to the end: a process that was stopped and wakes up writes no
        more than what whoever took over has written there too.
        """
        noted, unsafe, digest = found.names, 0, hashlib.sha256()
        with (part / "pixels").open("r+b") as pixels, (part / "journal").open("ab") as journal:
            pixels.seek(self._bytes(found))
            for block in blocks(self.tree, self.names[noted:], self.side):
                with writing(part, "--data"):
                    found.add(block)
                    if self.cache:
                        pixels.write(block.pixels.data)
                        digest.update(block.pixels.data)
                    unsafe += block.names * self.row
                    if unsafe >= LOST or found.names == len(self.names):
                        pixels.flush()
                        os.fsync(pixels.fileno())
                        chunks.append((self._bytes(found), digest.hexdigest()))
                        line = {**found.since(noted), "sha256": digest.hexdigest()}
                        journal.write(json.dumps(line).encode() + b"\n")
                        journal.flush()
                        noted, unsafe, digest = found.names, 0, hashlib.sha256()
                yield found.names

    def _lines(self, what: dict[int, str]) -> bytes:
        # A name may hold bytes that are no text.
        return b"".join(os.fsencode(f"{self.names[place]}: {reason}\n") for place, reason in what.items())


def _whole(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether the pixels are those that were decoded: left alone since, or else by their checksums."""
    pixels, start = folder / "pixels", 0
    try:
        left = _left(pixels)
        if left == facts["left"]:
            return True
        with pixels.open("rb") as file:
            for end, digest in facts["chunks"]:
                if hashlib.sha256(file.read(end - start)).hexdigest() != digest:
                    return False
                start = end
    except OSError:
        return False
    if left[0] != start:
        return False
    with suppress(PrunebenchError):  # where it cannot be written they are read each time
        replace_file(folder / "facts.json", sealed({**facts, "left": left}), "--data")
    return True


def _left(path: Path) -> list[int]:
    """Return size and times of a file; the last cannot be set back by who changes it."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes longer than asking
    except OSError:
        return -1, 0  # it will turn out to be bad
    return facts.st_size, facts.st_mtime_ns
