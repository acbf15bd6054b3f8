"""Photos decoded once, whatever happens: kills, full disks, two at once, damaged files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from prunebench.errors import PrunebenchError
from prunebench.system import leases
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import decoded
from tests.plugins.albums import numbers


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("stop", [0, 1, 7, 10])
def test_after_an_interruption_the_same_call_goes_on(album, stop, bad) -> None:
    album.add(11)
    if bad:
        (album.place / "003.png").write_bytes(b"")
    album.stop = stop
    with pytest.raises(KeyboardInterrupt):
        album.decoded(on_bad="skip")
    assert not list(album.data.glob("decoded/*/facts.json"))
    done = len(album.reads)
    album.stop = None
    found = album.decoded(on_bad="skip")
    assert numbers(found) == [number for number in range(11) if number != 3 or not bad]
    assert len(album.reads) - done <= 11 - done + 6  # three blocks of two may have been under way
    assert album.count(on_bad="skip") == 0
    assert not list(album.data.glob("decoded/*.part"))


@pytest.mark.parametrize("harm", ["journal", "garbage", "pixels", "ahead"])
def test_what_a_crash_may_leave_is_not_trusted(album, harm) -> None:
    """A torn line of the journal, a foreign one, lost or surplus pixels: all photos are right in the end."""
    album.add(11).stop = 8
    with pytest.raises(KeyboardInterrupt):
        album.decoded()
    [part] = album.data.glob("decoded/*.part")
    journal, pixels = part / "journal", part / "pixels"
    assert journal.read_text().count("\n") >= 2
    if harm == "journal":
        journal.write_bytes(journal.read_bytes()[:-3])
    elif harm == "garbage":
        journal.write_bytes(b"{}\n" + journal.read_bytes())
    elif harm == "pixels":
        os.truncate(pixels, pixels.stat().st_size - 1)
    else:
        pixels.write_bytes(pixels.read_bytes() + b"surplus")
    album.stop = None
    assert numbers(album.decoded()) == [*range(11)]


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from prunebench_plugins.datasets.io import blocks, decoding, pixel_cache
from prunebench_plugins.datasets.io.copies import Tree

place, data, log, stop = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
decoding.SMALL, blocks.CHUNK_SIZE, blocks.THREADS, pixel_cache.JOURNAL_BYTES = 0, 2, 1, 1
reads = 0

def read(name):
    global reads
    reads += 1
    if reads == stop:
        os.kill(os.getpid(), signal.SIGKILL)
    with open(log, "a") as file:
        file.write(name + "\\n")
    time.sleep(0.02)
    return (place / name).read_bytes()

names = tuple(sorted(path.name for path in place.iterdir()))
found = decoding.decoded(Tree(place, names, read), names, root=data, side=2)
print(found.images[:, 0, 0, 0].tolist())
"""


def start(album, log, stop=-1) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, *map(str, (album.place, album.data, log, stop))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_after_a_kill_the_same_call_goes_on(album, tmp_path) -> None:
    killed = start(album.add(20), tmp_path / "log", stop=15)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not list(album.data.glob("decoded/*/facts.json"))
    assert numbers(album.decoded()) == [*range(20)]
    assert 6 <= len(album.reads) <= 12  # of fourteen that were read, three blocks of two at most are lost


def test_two_processes_decode_each_photo_once(album, tmp_path) -> None:
    both = [start(album.add(20), tmp_path / "log") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [out for out, _ in outputs] == [f"{[*range(20)]}\n"] * 2, outputs
    assert len((tmp_path / "log").read_text().splitlines()) == 20


def test_a_full_disk_is_told_beforehand(album, monkeypatch) -> None:
    album.add(11)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(9, 9, 11 * 12 - 1))
    with pytest.raises(
        PrunebenchError, match=r"^decoding 11 images at 2 pixels needs 0.0 GB in .*, which has"
    ):
        album.decoded()
    assert not album.reads
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(9, 9, 11 * 12))
    assert album.count() == 11


def test_a_disk_that_fills_up_is_one_line_and_the_call_goes_on_later(album, monkeypatch) -> None:
    album.add(11)
    real, synced = os.fsync, []

    def full(file):
        synced.append(file)
        if len(synced) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrunebenchError, match=r"^cannot write .*: No space left .* another --data$"):
        album.decoded()
    monkeypatch.setattr(os, "fsync", real)
    done = len(album.reads)
    assert numbers(album.decoded()) == [*range(11)]
    assert len(album.reads) - done == 7


def test_a_data_folder_that_cannot_be_made_is_one_line(album) -> None:
    album.add(2)
    album.data.write_text("no folder")
    with pytest.raises(PrunebenchError, match=r"^cannot write .*; choose another --data$"):
        album.decoded()


@pytest.mark.parametrize("name", ["pixels", "facts.json"])
def test_a_cache_that_is_not_whole_is_made_anew(album, name) -> None:
    album.add(5)
    album.decoded()
    [path] = album.data.glob(f"decoded/*/{name}")
    os.truncate(path, path.stat().st_size - 1)
    assert album.count() == 5
    assert numbers(album.decoded()) == [*range(5)]


def flip(path, at) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


@pytest.mark.parametrize("at", [0, 30, 59])
def test_pixels_that_were_changed_are_decoded_anew(album, at) -> None:
    album.add(5)
    album.decoded()
    [pixels] = album.data.glob("decoded/*/pixels")
    flip(pixels, at)
    assert album.count() == 5
    assert numbers(album.decoded()) == [*range(5)]
    assert album.count() == 0


def test_so_are_those_whose_time_was_set_back(album) -> None:
    album.add(5)
    album.decoded()
    [pixels] = album.data.glob("decoded/*/pixels")
    before = pixels.stat()
    flip(pixels, 7)
    os.utime(pixels, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert album.count() == 5


def test_surplus_pixels_are_decoded_anew(album) -> None:
    album.add(5)
    album.decoded()
    [pixels] = album.data.glob("decoded/*/pixels")
    pixels.write_bytes(pixels.read_bytes() + b"surplus")
    assert album.count() == 5


@pytest.mark.parametrize("at", [5, 40, 100])
def test_facts_that_were_changed_are_not_believed(album, at) -> None:
    album.add(5)
    album.decoded()
    [facts] = album.data.glob("decoded/*/facts.json")
    flip(facts, at)
    assert album.count() == 5


def test_pixels_that_were_only_touched_are_compared_once_and_kept(album) -> None:
    album.add(5)
    album.decoded()
    [pixels] = album.data.glob("decoded/*/pixels")
    os.utime(pixels, (1, 1))
    assert album.count() == 0
    assert json.loads((pixels.parent / "facts.json").read_text())["left"][1] == 10**9


def test_pixels_changed_between_a_kill_and_the_next_call_are_decoded_anew(album) -> None:
    album.add(11).stop = 8
    with pytest.raises(KeyboardInterrupt):
        album.decoded()
    [pixels] = album.data.glob("decoded/*.part/pixels")
    flip(pixels, 3)
    album.stop = None
    assert numbers(album.decoded()) == [*range(11)]


def test_who_was_stopped_and_lost_its_turn_takes_what_the_other_decoded(album) -> None:
    tree, slow = album.add(11).tree, []

    def read(name):
        if name == "004.png" and not slow:
            slow.append(name)
            (claim,) = leases.claims(album.data / "decoded")
            claim.clear()
            assert numbers(album.decoded()) == [*range(11)]  # another process
        return tree.read(name)

    found = decoded(Tree(album.place, tree.names, read), tree.names, root=album.data, side=2)
    assert numbers(found) == [*range(11)]
    assert album.count() == 0
    assert leases.claims(album.data / "decoded") == []
