"""Of all processes that would do one thing one does, whatever becomes of it, its clock and its machine."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.system import leases
from prunebench.system.leases import Lease, Watch, claims, lease, take


@pytest.fixture
def path(tmp_path):
    return tmp_path / "leases" / "key"


def held(path):
    return [claim.facts["making"] for claim in claims(path.parent, path.name)]


# One holder


def test_who_comes_second_does_not_get_it(path):
    with take(path, "scores"):
        assert take(path, "scores too") is None
        assert held(path) == ["scores"]
    assert held(path) == []
    with take(path, "again"):
        assert held(path) == ["again"]


def test_nothing_is_left_of_a_lease(path):
    with lease(path, "scores"):
        pass
    assert list(path.parent.iterdir()) == []


def test_one_path_is_not_another_that_begins_alike(path):
    with take(path, "a"), take(path.with_name("key.b"), "b"), take(path.with_name("ke"), "c"):
        assert held(path) == ["a"]


def test_of_two_that_write_at_once_never_both_hold(path, monkeypatch):
    """The other writes its claim between our look and our own writing."""
    free, other = Watch.free, leases._own("other")

    def late(self):
        was_free = free(self)
        (path.parent / f"key.{'0' * 32}").write_text(json.dumps(other))
        return was_free

    path.parent.mkdir()
    monkeypatch.setattr(Watch, "free", late)
    assert take(path, "ours") is None
    assert held(path) == ["other"]


def test_many_at_once_take_turns(path):
    inside, most = [], []

    def work(name):
        for _ in range(5):
            with lease(path, name):
                inside.append(name)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, map(str, range(8))))
    assert most == [1] * 40


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_no_lock_of_the_system_is_asked_for(path, monkeypatch, error):
    fcntl = pytest.importorskip("fcntl")

    def refused(*_):
        raise OSError(error, os.strerror(error))

    for name in ("flock", "lockf", "fcntl"):
        monkeypatch.setattr(fcntl, name, refused)
    with take(path, "scores"):
        assert take(path, "too") is None


def test_lock_files_of_other_programs_mean_nothing(path):
    path.parent.mkdir()
    for name in ("key", "key.lock", ".key", "key.0123", f"key.{'g' * 32}"):
        (path.parent / name).write_text("4711")
    with take(path, "scores"):
        assert held(path) == ["scores"]


def test_a_folder_that_takes_no_claim_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PrunebenchError, match=r"cannot write .*: File exists; choose another --results$"):
        take(tmp_path / "file" / "rows", "a row", "--results")


# A holder that is gone

HOLDER = """
import sys
from pathlib import Path
from prunebench.system.leases import lease
with lease(Path(sys.argv[1]), "scores"):
    print("held", flush=True)
    sys.stdin.readline()
    print("ended", flush=True)
"""


@pytest.fixture
def holder(path):
    """holder() is a process of its own that holds the lease until it is killed or told to end."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("buried", [True, False], ids=["buried", "zombie"])
def test_a_killed_holder_is_replaced_at_once(path, holder, buried):
    process = holder()
    assert take(path, "too") is None
    process.kill()
    if buried:
        process.wait()
    else:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with take(path, "ours"):
        assert held(path) == ["ours"]


def test_a_stopped_holder_is_replaced_after_its_time_and_wakes_up_without_it(path, holder, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_LEASE", "0.6")
    process = holder()
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    with lease(path, "ours"):
        assert time.monotonic() - begin > 0.6
        process.send_signal(signal.SIGCONT)
        assert process.communicate("\n")[0] == "ended\n"
        assert process.returncode == 0
        assert held(path) == ["ours"]


def test_a_living_holder_is_never_replaced(path, holder, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_LEASE", "0.3")
    holder()
    watch = Watch(path)
    for _ in range(20):
        assert not watch.free()
        time.sleep(0.05)


def forged(path, **changes):
    """Write a claim of a process that is not there."""
    claim = path.parent / f"{path.name}.{'0' * 32}"
    claim.parent.mkdir(exist_ok=True)
    claim.write_text(json.dumps({**leases._own("scores"), **changes}))
    return claim


def test_a_number_that_another_process_has_now_is_a_dead_one(path):
    forged(path, born="1")
    assert Watch(path).free()


def test_the_name_of_a_process_may_be_cut_inside_a_letter(path):
    name = Path("/proc/self/comm")
    before = name.read_bytes()
    name.write_bytes("auswertungen_für".encode())  # the kernel keeps 15 bytes: half of the ü
    try:
        with lease(path, "ours"):
            assert held(path) == ["ours"]
            assert not Watch(path).free()
    finally:
        name.write_bytes(before)


def test_a_process_of_another_machine_is_given_its_time(path):
    forged(path, machine="another", pid=2**22 + 1, seconds=0.05)
    watch = Watch(path)
    assert not watch.free()
    time.sleep(0.1)
    assert watch.free()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\0",
        b'{"pid": 1}',
        b'{"pid": "1", "seconds": 1}',
        b'{"pid": -1, "seconds": 1}',
    ],
)
def test_so_is_a_claim_that_nobody_can_read(path, monkeypatch, content):
    forged(path).write_bytes(content)
    monkeypatch.setenv("PRUNEBENCH_LEASE", "0.05")
    watch = Watch(path)
    assert not watch.free()
    time.sleep(0.1)
    assert watch.free()


# Clocks


@pytest.mark.parametrize("jump", [86400, -86400])
def test_a_clock_that_jumps_ends_no_lease(path, jump):
    """The claim is touched at times that have nothing to do with ours."""
    claim = forged(path, machine="another", seconds=0.2)
    watch, now = Watch(path), time.time()
    for beat in range(10):
        os.utime(claim, (now, now + beat * jump))
        assert not watch.free()
        time.sleep(0.05)


def test_time_in_which_nobody_looked_does_not_count(path, monkeypatch):
    """A laptop that slept, or a runner that was stopped itself."""
    clock = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
    forged(path, machine="another", seconds=60)
    watch = Watch(path)
    assert not watch.free()
    clock[0] += 3600
    assert not watch.free()
    for _ in range(70):
        clock[0] += 1
        watch.free()
    assert watch.free()


# What a holder knows


def test_a_holder_shows_that_it_lives(path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_LEASE", "0.1")
    with take(path, "scores"):
        (before,) = claims(path.parent)
        time.sleep(0.2)
        (after,) = claims(path.parent)
    assert after.touched > before.touched


def test_a_holder_whose_lease_was_taken_knows(path):
    with take(path, "scores") as mine:
        assert mine.held() and not mine.lost
        mine.claim.unlink()
        with take(path, "another"):
            assert not mine.held() and mine.lost
            assert held(path) == ["another"]


def test_a_disk_that_is_away_for_a_moment_takes_no_lease(path, monkeypatch):
    def away(*_):
        raise OSError(errno.EIO, "Input/output error")

    with take(path, "scores") as mine:
        monkeypatch.setattr(leases.os, "utime", away)
        assert mine.held()


# What those who wait are told


def told(capsys, path, monkeypatch, **changes):
    monkeypatch.setattr(leases, "PATIENCE", 0.0)
    forged(path, machine="another", host="node7", pid=4711, since="2026-01-01 10:00:00 UTC", **changes)
    watch = Watch(path)
    for _ in range(3):
        watch.free()
    return capsys.readouterr().err


def test_who_waits_says_for_whom_and_until_when(capsys, path, monkeypatch):
    assert told(capsys, path, monkeypatch) == (
        "waiting for process 4711 on node7: scores, begun 2026-01-01 10:00:00 UTC; "
        "after 60 s without a sign of life it counts as gone\n"
    )


def test_nothing_is_said_in_the_first_seconds(capsys, path):
    forged(path, machine="another")
    Watch(path).free()
    assert capsys.readouterr().err == ""


def test_what_a_claim_says_reaches_no_terminal_raw(capsys, path, monkeypatch):
    assert "\x1b" not in told(capsys, path, monkeypatch, making="\x1b[2J\nError: forged")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused(monkeypatch, seconds):
    monkeypatch.setenv("PRUNEBENCH_LEASE", seconds)
    with pytest.raises(PrunebenchError, match=f"PRUNEBENCH_LEASE is '{seconds}', expected a positive number"):
        leases.seconds()


def test_a_thread_ends_with_its_lease(path):
    before = threading.active_count()
    with take(path, "scores") as mine:
        assert isinstance(mine, Lease)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
