"""Archives are unpacked whole or not at all, and nowhere else, whatever is in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from prunebench.system import leases
from prunebench_plugins.datasets.io import archives
from prunebench_plugins.datasets.io.archives import Archive, download, unpack
from tests.messages import line

PHOTOS = Archive(name="photos.tar.gz", folder="photos", members=6, size=2**16)
FILES = {"photos/cat/1.jpg": b"one", "photos/cat/2.jpg": b"two", "photos/list.txt": b""}


def entry(name, kind=tarfile.REGTYPE, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def tarred(members=FILES, mode="w:gz"):
    """The bytes of an archive of files by name, or of entries."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for member, content in (
            [entry(n, content=c) for n, c in members.items()] if isinstance(members, dict) else members
        ):
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def data(tmp_path):
    """A data folder, in a folder in which nothing else may appear."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def put(data, content, name=PHOTOS.name):
    (data / name).write_bytes(content)
    return data / name


def below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(data, content, archive=PHOTOS):
    """The message for an archive that is not unpacked, of which nothing is left."""
    path = put(data, content, archive.name)
    message = line(lambda: unpack(archive, path))
    assert below(data.parent) == {"data", f"data/{archive.name}"}
    return message.replace(str(path), "ARCHIVE").removesuffix(". Delete it and get it again.")


@pytest.mark.parametrize("prefix", ["", "./"])
def test_an_archive_is_unpacked_beside_itself(data, prefix):
    path = put(data, tarred({prefix + name: content for name, content in FILES.items()}))
    unpack(PHOTOS, path)
    assert below(data) == {PHOTOS.name, "photos", "photos/cat", *FILES}
    assert {name: (data / name).read_bytes() for name in FILES} == FILES


def test_empty_folders_and_what_lies_beside_the_folder(data):
    members = [entry("photos/empty", tarfile.DIRTYPE), entry("._photos", content=b"?"), entry("other/x")]
    unpack(PHOTOS, put(data, tarred(members)))
    assert below(data) == {PHOTOS.name, "photos", "photos/empty"}


def test_owners_and_modes_of_the_archive_do_not_count(data):
    members = [
        entry("photos", tarfile.DIRTYPE, mode=0o0),
        entry("photos/run.jpg", mode=0o6777, uid=12345, gid=12345),
    ]
    unpack(PHOTOS, put(data, tarred(members)))
    found, mine = (data / "photos/run.jpg").stat(), (data / PHOTOS.name).stat()
    assert (found.st_uid, found.st_mode) == (mine.st_uid, mine.st_mode)
    assert (data / "photos").stat().st_mode == data.stat().st_mode


HOSTILE = {
    "upwards": [entry("photos/../../evil.jpg", content=b"!")],
    "upwards at once": [entry("../evil.jpg", content=b"!")],
    "a folder upwards": [entry("photos/../../evil", tarfile.DIRTYPE)],
    "absolute": [entry("/tmp/prunebench-evil.jpg", content=b"!")],
    "a drive": [entry("C:/evil.jpg", content=b"!")],
    "backslashes": [entry("..\\evil.jpg", content=b"!")],
    "a share": [entry("\\\\host\\share\\evil.jpg", content=b"!")],
}
SPECIAL = {
    "a symbolic link": [entry("photos/evil", tarfile.SYMTYPE, linkname="/etc"), entry("photos/evil/x")],
    "a symbolic link upwards": [entry("photos/evil", tarfile.SYMTYPE, linkname="../..")],
    "a hard link": [entry("photos/evil", tarfile.LNKTYPE, linkname="/etc/passwd")],
    "a device": [entry("photos/evil", tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "a disk": [entry("photos/evil", tarfile.BLKTYPE, devmajor=8, devminor=0)],
    "a pipe": [entry("photos/evil", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_leads_out_is_refused(data, kind):
    message = refused(data, tarred([*map(entry, FILES), *HOSTILE[kind]]))
    name = HOSTILE[kind][0][0].name
    assert message == f"ARCHIVE is not unpacked: it holds {name!r}, which leads out of it"
    assert not Path("/tmp/prunebench-evil.jpg").exists()


@pytest.mark.parametrize("kind", SPECIAL)
def test_links_and_devices_are_refused(data, kind):
    message = refused(data, tarred([*map(entry, FILES), *SPECIAL[kind]]))
    assert message == "ARCHIVE is not unpacked: it holds 'photos/evil', which is a link or no plain file"


def test_a_sparse_file_is_refused(data):
    """A few bytes that say they are 64 megabytes, by the way that GNU tar writes holes."""
    member, _ = entry("photos/holes.jpg")
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(2**26),
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    assert refused(data, file.getvalue()).endswith("'photos/holes.jpg', which is a link or no plain file")


def test_too_many_members_are_refused(data):
    message = refused(data, tarred({f"photos/{i}.jpg": b"" for i in range(7)}))
    assert message == "ARCHIVE is not unpacked: it holds more than 6 files and folders"


@pytest.mark.parametrize("many", [1, 3])
def test_too_many_bytes_are_refused(data, many):
    """Ten megabytes of zeros are ten kilobytes packed; no more is unpacked than is allowed."""
    each = 10 * 2**20 // many
    message = refused(data, tarred({f"photos/{i}.jpg": bytes(each) for i in range(many)}))
    assert message == "ARCHIVE is not unpacked: unpacked it has more than 65536 bytes"


def test_a_header_that_is_a_bomb_does_not_fill_the_memory(data, monkeypatch):
    """A name may be as long as it says, and is read before the member is known."""
    monkeypatch.setattr(archives, "BLOCK", 2**12)
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**28
    path = put(data, gzip.compress(header.tobuf() + bytes(2**26)))
    tracemalloc.start()
    try:
        assert "more than 65536 bytes" in line(lambda: unpack(PHOTOS, path))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


PAGE = b"<!DOCTYPE html><html>404</html>"


@pytest.mark.parametrize("content", [PAGE, b"", tarred(mode="w")], ids=["page", "empty", "no gzip"])
def test_something_else_in_place_of_the_archive(data, content):
    message = refused(data, content)
    assert message == f"ARCHIVE is not a whole archive: it begins with {content[:16]!r}"


@pytest.mark.parametrize(
    "content",
    [gzip.compress(PAGE), gzip.compress(b"")[:-3], gzip.compress(bytes(9))],
    ids=["page", "torn", "zeros"],
)
def test_a_gzipped_file_that_is_no_tar_archive(data, content):
    assert refused(data, content).startswith("ARCHIVE is not a whole archive: ")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_archive(data, share):
    noise = {f"photos/{i}.jpg": os.urandom(9000) for i in range(5)}
    content = tarred(noise)
    message = refused(data, content[: int(share * len(content))])
    assert message.startswith("ARCHIVE is not a whole archive: ") and "begins" not in message


def test_an_archive_of_something_else(data):
    message = refused(data, tarred({"cats/1.jpg": b""}))
    assert message == "ARCHIVE holds no photos"


def test_a_file_where_a_folder_should_be(data):
    message = refused(data, tarred({"photos/cat": b"", "photos/cat/1.jpg": b""}))
    assert message.startswith("ARCHIVE cannot be unpacked: ") and "photos/cat" in message


def test_a_full_disk(data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    message = refused(data, tarred())
    assert message == "ARCHIVE cannot be unpacked: [Errno 28] No space left on device"


def test_an_interruption_leaves_nothing(data, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(archives.shutil, "copyfileobj", interrupted)
    path = put(data, tarred())
    with pytest.raises(KeyboardInterrupt):
        unpack(PHOTOS, path)
    assert below(data) == {PHOTOS.name}


KILLED = """
import os, sys
from pathlib import Path
from prunebench_plugins.datasets.io import archives

def full(source, target, size):
    target.write(source.read())
    target.flush()
    os.kill(os.getpid(), 9)

archives.shutil.copyfileobj = full
archive = archives.Archive(name="photos.tar.gz", folder="photos", members=6, size=2**16)
archives.unpack(archive, Path(sys.argv[1]))
"""


def half(part):
    return {part, f"{part}/photos", f"{part}/photos/cat", f"{part}/photos/cat/1.jpg"}


def test_what_a_kill_leaves_is_never_more_than_one_and_goes_with_the_next(data):
    path = put(data, tarred())
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == -9
        (claim,) = leases.claims(data)
        (part,) = data.glob(".photos.part.*")
        assert below(data) == {PHOTOS.name, claim.path.name, *half(part.name)}
    unpack(PHOTOS, path)
    assert below(data) == {PHOTOS.name, "photos", "photos/cat", *FILES}


@pytest.fixture
def second(monkeypatch):
    """second(action): the future of an action that has come as far as to wait for the lease."""
    with ThreadPoolExecutor(1) as pool:

        def started(action):
            waits, free = threading.Event(), leases.Watch.free

            def heard(self):
                waits.set()
                return free(self)

            monkeypatch.setattr(leases.Watch, "free", heard)
            future = pool.submit(action)
            assert waits.wait(30)
            return future

        yield started


def test_of_two_at_once_one_unpacks_and_the_other_waits(data, monkeypatch, second):
    path, copy, others = put(data, tarred()), archives.shutil.copyfileobj, []

    def slow(*arguments):
        if not others:
            others.append(second(lambda: unpack(PHOTOS, path)))
        copy(*arguments)

    extracted, extract = [], archives._extract
    monkeypatch.setattr(archives, "_extract", lambda *given: (extracted.append(1), extract(*given)))
    monkeypatch.setattr(archives.shutil, "copyfileobj", slow)
    unpack(PHOTOS, path)
    assert others[0].result(30) is None and extracted == [1]
    assert below(data) == {PHOTOS.name, "photos", "photos/cat", *FILES}


def test_who_was_stopped_and_lost_its_turn_leaves_what_the_other_made(data, monkeypatch):
    path, extract = put(data, tarred()), archives._extract

    def stopped(*given):
        """Another process takes this one for gone, clears its files away, and unpacks all."""
        monkeypatch.setattr(archives, "_extract", extract)
        (claim,) = leases.claims(data)
        claim.clear()
        unpack(PHOTOS, path)
        (data / "photos" / "theirs").touch()
        extract(*given)

    monkeypatch.setattr(archives, "_extract", stopped)
    unpack(PHOTOS, path)
    assert below(data) == {PHOTOS.name, "photos", "photos/theirs", "photos/cat", *FILES}


def test_where_the_other_gave_up_it_is_told(data, monkeypatch):
    extract = archives._extract

    def stopped(*given):
        (claim,) = leases.claims(data)
        claim.clear()
        extract(*given)

    monkeypatch.setattr(archives, "_extract", stopped)
    message = line(lambda: unpack(PHOTOS, put(data, tarred())))
    assert message == f"another process began to make {data}/photos and gave up; run it again"
    assert below(data) == {PHOTOS.name}


def test_a_folder_that_is_there_is_not_touched(data):
    path = put(data, tarred())
    (data / "photos").mkdir()
    (data / "photos/mine.txt").touch()
    message = line(lambda: unpack(PHOTOS, path))
    assert message == f"{data}/photos is incomplete: move it away, then photos.tar.gz is unpacked"
    assert below(data) == {PHOTOS.name, "photos", "photos/mine.txt"}


def test_the_digest_is_that_of_the_published_file(data):
    content = tarred()
    digest = hashlib.md5(content).hexdigest()
    published, other = replace(PHOTOS, digest=digest), replace(PHOTOS, digest="0" * 32)
    message = refused(data, content, other)
    assert message.startswith(f"ARCHIVE is not the published file: its md5 is {digest}, expected 000")
    unpack(published, data / PHOTOS.name)
    assert FILES.keys() <= below(data)


def test_a_digest_may_be_waived(data):
    unpack(replace(PHOTOS, digest="0" * 32), put(data, tarred()), verify=False)
    assert FILES.keys() <= below(data)


# A tar archive in a zip archive

ZIP = replace(PHOTOS, name="photos.zip", inner="photos.tar.gz")


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_an_archive_in_an_archive(data):
    clutter = {"__MACOSX/set/._photos.tar.gz": b"?", "set/readme.txt": b"?", "../evil": b"!"}
    path = put(data, zipped(clutter | {"set/photos.tar.gz": tarred()}), ZIP.name)
    unpack(ZIP, path)
    assert below(data.parent) == {"data", f"data/{ZIP.name}", "data/photos", "data/photos/cat"} | {
        f"data/{name}" for name in FILES
    }


@pytest.mark.parametrize(
    "content, reason",
    [
        (PAGE, "is not a whole archive: it begins with b'<!DOCTYPE html><'"),
        (b"PK\x03\x04", "is not a whole archive: File is not a zip file"),
        (zipped({"photos/1.jpg": b""}), "is not unpacked: it holds no photos.tar.gz"),
        (zipped({"photos.tar.gz": PAGE}), "is not a whole archive: Not a gzipped file (b'<!')"),
        (
            zipped({"photos.tar.gz": tarred([entry("../x")])}),
            "is not unpacked: it holds '../x', which leads out of it",
        ),
    ],
)
def test_an_archive_in_an_archive_is_looked_at_as_closely(data, content, reason):
    assert refused(data, content, ZIP) == f"ARCHIVE {reason}"


# Downloading


def test_a_download_is_whole_or_not_there(data, monkeypatch):
    calls = []

    def download_url(url, root, filename, md5):
        calls.append((url, filename, md5))
        (Path(root) / filename).write_bytes(b"half")
        if len(calls) == 1:
            raise RuntimeError("File not found or corrupted.")

    module = SimpleNamespace(download_url=download_url)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", module)
    archive = replace(PHOTOS, url="https://example.org/photos.tar.gz", digest="0" * 32)
    with pytest.raises(RuntimeError):
        download(archive, data / "new")
    assert below(data) == {"new"}
    (data / "new/.photos.tar.gz.part.01234567").mkdir()
    (data / "new/.photos.tar.gz.part.01234567/half").touch()  # as a kill leaves it
    for _ in range(2):  # and there it is, as another process leaves it
        assert download(archive, data / "new") == data / "new/photos.tar.gz"
        assert below(data) == {"new", "new/photos.tar.gz"}
    assert calls == [(archive.url, archive.name, archive.digest)] * 2
