"""Decoded photos on disk, mapped into memory. Made once, resumed after a kill, never half there.

DATA/decoded/KEY/pixels       uint8 [m, 3, side, side], in the order of the names
DATA/decoded/KEY/facts.json   checksums of the pixels, the bad and the odd files, and a checksum of itself
DATA/decoded/KEY/bad.txt      the bad files, for people to read
DATA/decoded/KEY/odd.txt      the odd files, for people to read
DATA/decoded/KEY.part/        an unfinished KEY/, with a journal from which it is resumed
DATA/decoded/KEY.TOKEN        lease of the process that makes KEY/, see `prunebench.system.leases`
DATA/decoded/KEY.bad.txt      the bad files of a set that was decoded into memory

All of it may be deleted while nothing runs.
Pixels are compared with their checksums if their size or times have changed, and decoded again if they
differ. To read them all on each use would take longer than some trainings.
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
from prunebench_plugins.datasets.io.blocks import Findings, blocks
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding_bar import bar

VERSION = 1  # bump when the pixels of the same file change
JOURNAL_BYTES = 32 * 2**20  # bytes of pixels between two lines of the journal: a kill loses about as much
Chunks = list[tuple[int, str]]  # end of each chunk of the pixels, in bytes, and its sha256


@dataclass(frozen=True, eq=False)
class Work:
    """Photos to decode.

    tree: the files of the photos.
    names: the photos, as the tree names them.
    side: side of the squares in pixels.
    cache: whether the pixels are kept. If not, only the bad and odd files are.
    home: the folder `decoded`, created only when needed.
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
        """Return the key of the decoded photos, and the total size of their files in bytes.

        The key depends on the path, names, sizes and times. For an archive it depends on the size and time
        of the archive, and for files that hold photos on theirs.
        """
        path = self.tree.path
        digest = hashlib.sha256(os.fsencode(f"{VERSION} {self.side} {self.cache} {path.resolve()}\n"))
        packed = self.tree.packed or ((path,) if path.is_file() else ())
        total = 0
        for file in packed:
            size, changed = _size_and_time(str(file))
            digest.update(f"{size} {changed}\n".encode())
            total += max(size, 0)
        for name in self.names:
            digest.update(os.fsencode(f"{name}\0"))
            if not packed:
                size, changed = _size_and_time(f"{path}/{name}")
                digest.update(f"{size} {changed}\n".encode())
                total += max(size, 0)
        return digest.hexdigest(), total

    def in_memory(self) -> tuple[Array | None, Findings]:
        """Decode all photos into memory. Returns no pixels if `cache` is off."""
        findings = Findings()
        parts = [np.empty((0, 3, self.side, self.side), np.uint8)]
        with bar(f"decoding {self.tree.path}", len(self.names)) as update:
            for block in blocks(self.tree, self.names, self.side):
                findings.add(block)
                if self.cache:
                    parts.append(block.pixels)
                update(findings.names)
        return np.concatenate(parts) if self.cache else None, findings

    def on_disk(self, key: str) -> tuple[Array | None, Findings]:
        """Decode the photos unless they are on disk, and map them into memory."""
        folder = self.home / key
        while (findings := self._stored(folder)) is None:
            with (
                lease(self.home / key, f"decoding {self.tree.path}", "--data") as held,
                suppress(BusyError),  # another process took over: use its result
            ):
                # It may have been stored while this process waited for the lease.
                if self._stored(folder) is None:
                    self._make(key, held)
        if not self.cache:
            return None, findings
        shape = (findings.names - len(findings.bad), 3, self.side, self.side)
        if not shape[0]:  # an empty file cannot be mapped
            return np.empty(shape, np.uint8), findings
        return np.memmap(folder / "pixels", np.uint8, "r", shape=shape), findings

    def list_bad(self, key: str, findings: Findings) -> str:
        """Return the clause that names the list of all bad files, or "" if none can be written.

        Writes the list if the photos were decoded into memory.
        """
        path = self.home / key / "bad.txt"
        if path.is_file():
            return f", all listed in {path}"
        path = self.home / f"{key}.bad.txt"
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._lines(findings.bad))
        except OSError:  # the caller reports the bad files, which matters more
            return ""
        return f", all listed in {path}"

    def _stored(self, folder: Path) -> Findings | None:
        """Return the stored findings, or None if the photos are not stored completely."""
        facts = unsealed(folder / "facts.json")
        if facts is None or (self.cache and not _is_whole(folder, facts)):
            return None
        findings = Findings()
        findings.take(facts)
        return findings

    def _make(self, key: str, held: Lease) -> None:
        """Decode into KEY.part, from where a killed process stopped, and rename it at the end.

        Raise BusyError if the lease is lost meanwhile.
        """
        folder = self.home / key
        part = self.home / f"{key}.part"
        with writing(part, "--data"):
            part.mkdir(exist_ok=True)
        findings, chunks = self._resume(part)
        self._check_room(findings)
        with bar(f"decoding {self.tree.path}", len(self.names)) as update:
            for done in self._write_blocks(part, findings, chunks):
                if not held.held():
                    raise BusyError(key)
                update(done)
        with writing(part, "--data"):
            (part / "bad.txt").write_bytes(self._lines(findings.bad))
            (part / "odd.txt").write_bytes(self._lines(findings.odd))
            facts = {**findings.since(0), "chunks": chunks, "left": _size_and_times(part / "pixels")}
            (part / "facts.json").write_bytes(sealed(facts))
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one: `_stored` refused it
            part.replace(folder)
            (folder / "journal").unlink()
        if findings.bad or findings.odd:
            sys.stderr.write(
                f"{self.tree.path}: {len(findings.bad)} of {len(self.names)} images cannot be read, "
                f"{len(findings.odd)} are odd: bad.txt and odd.txt in {folder} list them\n"
            )

    def _resume(self, part: Path) -> tuple[Findings, Chunks]:
        """Return the findings and chunks in the journal. Truncates the pixels and the journal after them."""
        findings = Findings()
        chunks: Chunks = []
        good = 0  # bytes of the journal
        pixels = part / "pixels"
        journal = part / "journal"
        with writing(part, "--data"):
            pixels.touch()
            journal.touch()
            with pixels.open("rb") as file:
                for line in journal.read_bytes().splitlines(keepends=True):
                    try:
                        entry = json.loads(line)
                        advanced = Findings(findings.names, findings.bad, findings.odd)
                        advanced.take(entry)
                        end = self._bytes(advanced)
                        digest = str(entry["sha256"])
                    except (ValueError, KeyError, TypeError):
                        break
                    content = file.read(end - self._bytes(findings))
                    if not line.endswith(b"\n") or hashlib.sha256(content).hexdigest() != digest:
                        break
                    findings = advanced
                    good += len(line)
                    chunks.append((end, digest))
            os.truncate(journal, good)
            os.truncate(pixels, self._bytes(findings))
        return findings, chunks

    def _bytes(self, findings: Findings) -> int:
        """Return the size of the pixels of the photos so far."""
        return (findings.names - len(findings.bad)) * self.row if self.cache else 0

    def _check_room(self, findings: Findings) -> None:
        needed = (len(self.names) - findings.names) * self.row if self.cache else 0
        free = shutil.disk_usage(self.home).free
        if needed > free:
            raise PrunebenchError(
                f"decoding {len(self.names)} images at {self.side} pixels needs {needed / 1e9:.1f} GB in "
                f"{self.home}, which has {free / 1e9:.1f} GB; delete older folders there, "
                "choose another --data or fewer pixels, or decode the images in each epoch (cache = false)"
            )

    def _write_blocks(self, part: Path, findings: Findings, chunks: Chunks) -> Iterator[int]:
        """Decode the rest, extend the findings and chunks, and yield the number of names done.

        A line of the journal is written once its pixels are safe on disk.
        """
        noted = findings.names  # names in the journal
        unnoted_bytes = 0
        digest = hashlib.sha256()
        # Pixels are written at their offset, not appended. A stopped process that wakes up then writes the
        # same bytes as the process that took over.
        with (part / "pixels").open("r+b") as pixels, (part / "journal").open("ab") as journal:
            pixels.seek(self._bytes(findings))
            for block in blocks(self.tree, self.names[noted:], self.side):
                with writing(part, "--data"):
                    findings.add(block)
                    if self.cache:
                        pixels.write(block.pixels.data)
                        digest.update(block.pixels.data)
                    unnoted_bytes += block.names * self.row
                    if unnoted_bytes >= JOURNAL_BYTES or findings.names == len(self.names):
                        pixels.flush()
                        os.fsync(pixels.fileno())
                        chunks.append((self._bytes(findings), digest.hexdigest()))
                        line = {**findings.since(noted), "sha256": digest.hexdigest()}
                        journal.write(json.dumps(line).encode() + b"\n")
                        journal.flush()
                        noted = findings.names
                        unnoted_bytes = 0
                        digest = hashlib.sha256()
                yield findings.names

    def _lines(self, reasons: dict[int, str]) -> bytes:
        lines = (f"{self.names[i]}: {reason}\n" for i, reason in reasons.items())
        return b"".join(os.fsencode(line) for line in lines)  # a file name may hold bytes that are no text


def _is_whole(folder: Path, facts: dict[str, Any]) -> bool:
    """Return whether the pixels are unchanged, by their size and times or else by their checksums."""
    pixels = folder / "pixels"
    start = 0
    try:
        size_and_times = _size_and_times(pixels)
        if size_and_times == facts["left"]:
            return True
        with pixels.open("rb") as file:
            for end, digest in facts["chunks"]:
                if hashlib.sha256(file.read(end - start)).hexdigest() != digest:
                    return False
                start = end
    except OSError:
        return False
    if size_and_times[0] != start:
        return False
    # Notes the new times. If that fails, the pixels are only read again next time.
    with suppress(PrunebenchError):
        replace_file(folder / "facts.json", sealed({**facts, "left": size_and_times}), "--data")
    return True


def _size_and_times(path: Path) -> list[int]:
    """Return size, time of modification and time of change of a file. The last cannot be set back."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - for a million files, making a Path takes longer than the call
    except OSError:
        return -1, 0  # decoding will report the file as bad
    return stat.st_size, stat.st_mtime_ns
