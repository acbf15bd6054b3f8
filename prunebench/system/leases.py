"""Leases: of all processes that want to do one task, on any machine, only one does it at a time.

PATH.TOKEN   a claim on PATH: its owner and start as JSON. A thread of the owner touches the file

A lease only needs a disk on which files can be made, listed, touched and deleted. It needs no lock of the
operating system. So it works on network disks without locks too.

One holder. A process that wants the lease writes a claim under a name that nobody else ever uses. Then it
lists the claims. If its own claim is the only one, it holds the lease. Else it deletes its claim and tries
again later. Two writers never both hold the lease, because the later writer lists both claims.

Takeover. A waiting process deletes the claim of a dead process of this machine at once. It deletes any other
claim once it saw no touch for the claim's own time limit. Then the race for the free lease starts. Names are
never used twice, so a late deletion cannot hit a newer claim.

Fence. A holder that was stopped and wakes up asks `held` before it stores its result. If its claim is gone,
it drops the result. It may be stopped again between this check and the storing. Then two complete results
have one key, and the store keeps the first. A wrong takeover wastes work and never spoils a result.

Clocks. A waiting process measures on its own monotonic clock how long it saw no change. Of the time between
two looks, at most `BLINK` seconds count. No two clocks are compared, so a clock that jumps does not matter.
"""

from __future__ import annotations

import calendar
import json
import os
import platform
import random
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from prunebench.errors import PrunebenchError
from prunebench.system.files import writing

SECONDS = 60.0  # without a sign of life. After that, a process counts as gone
BEATS = 6  # signs of life in that time
PATIENCE = 3.0  # seconds of waiting before a message
LOOK = 0.1  # seconds between two looks at the claims
BLINK = 1.0  # largest time between two looks, in seconds, that counts as watched
SINCE = "%Y-%m-%d %H:%M:%S UTC"  # how a claim says when it was written
CLAIM = re.compile(r"(.+)\.([0-9a-f]{32})")


def seconds() -> float:
    """Return the seconds without a sign of life after which a process counts as gone.

    They are PRUNEBENCH_LEASE, or `SECONDS`. Raise PrunebenchError if that is not a positive number.
    """
    text = os.environ.get("PRUNEBENCH_LEASE", "") or str(SECONDS)
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise PrunebenchError(f"PRUNEBENCH_LEASE is {text!r}, expected a positive number of seconds")


@dataclass(frozen=True)
class Claim:
    """A claim as it was last seen.

    path: its file.
    touched: its time of change, in nanoseconds.
    facts: its content, as `_own` writes it, or {} if it cannot be read.
    """

    path: Path
    touched: int
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The file name of the claimed path."""
        return self.path.name[:-33]

    @property
    def seconds(self) -> float:
        """Seconds without a sign of life after which its holder counts as gone."""
        return self.facts["seconds"] if self.facts else seconds()

    @property
    def holder(self) -> str:
        """The process that wrote it, for people."""
        if not self.facts:
            return "an unknown process"
        host = str(self.facts["host"])[:100]
        return f"process {self.facts['pid']} on {host}"

    def age(self) -> float | None:
        """Return the seconds since it was written, by the clock of its holder and by ours, for people."""
        try:
            written = time.strptime(self.facts["since"], SINCE)
        except (KeyError, ValueError, TypeError):
            return None
        return max(0.0, time.time() - calendar.timegm(written))

    def dead(self) -> bool:
        """Whether its holder was a process of this machine that has ended."""
        if not self.facts or self.facts["machine"] != _machine() or os.name == "nt":
            return False  # on Windows os.kill would end the process
        try:
            os.kill(self.facts["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it lives, and belongs to another user
        # Another process may have its number by now. That one began at another time.
        born = _born(self.facts["pid"])
        return born is not None and born != self.facts["born"]

    def clear(self) -> None:
        """Delete the claim of a holder that is gone, if the disk allows it."""
        with suppress(OSError):  # on such a disk, writing a claim fails too, with a message
            self.path.unlink()

    def __str__(self) -> str:
        if not self.facts:
            return f"an unknown process ({self.path})"
        values = {name: str(self.facts[name])[:100] for name in ("pid", "host", "making", "since")}
        text = "process {pid} on {host}: {making}, begun {since}".format(**values)
        return "".join(letter if letter.isprintable() else "?" for letter in text)


def claims(folder: Path, name: str | None = None) -> list[Claim]:
    """Return the claims on all paths in a folder, or only those on the path called `name`."""
    try:
        file_names = os.listdir(folder)  # noqa: PTH208 - only the names are needed
    except (FileNotFoundError, NotADirectoryError):
        return []
    current = []
    for file_name in file_names:
        match = CLAIM.fullmatch(file_name)
        if match and name in (None, match[1]):
            with suppress(FileNotFoundError):  # its holder gave it back meanwhile
                current.append(_read(folder / file_name))
    return current


def _read(path: Path) -> Claim:
    try:
        content = path.read_bytes()  # before the time of change, which a network disk updates by a read
    except PermissionError:
        content = b""
    try:
        facts = json.loads(content)
        valid = facts["pid"] > 0 and facts["seconds"] > 0 and isinstance(facts["pid"], int)
        valid = valid and {"machine", "born", "host", "making", "since"} <= facts.keys()
    except (ValueError, TypeError, KeyError, AttributeError):
        valid = False
    return Claim(path, path.stat().st_mtime_ns, facts if valid else {})


@cache
def _machine() -> str:
    """Return a name of this booted system and its process table, in which a process number is unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{uuid.getnode():x}"


def _born(pid: int) -> str | None:
    """Return the start time of a process of this machine, "" if it has ended, or None if it is unknown."""
    try:
        # As bytes: the kernel cuts the name of a process, in brackets, even inside a letter.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return None
    return "" if state[0] in "ZX" else state[19]


class Watch:
    """A waiting process's record of the claims on a path. It decides which holders are gone.

    path: the claimed path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._silent: dict[Path, tuple[int, float]] = {}
        self._began = time.monotonic()
        self._looked = self._began
        self._reported = False

    def free(self) -> bool:
        """Delete the claims of holders that are gone. Return whether nobody holds the lease then.

        After `PATIENCE` seconds of waiting, one line on standard error names the holder.
        """
        now = time.monotonic()
        passed = min(now - self._looked, BLINK)
        self._looked = now
        before = self._silent
        self._silent = {}
        for claim in claims(self.path.parent, self.path.name):
            touched, silence = before.get(claim.path, (None, 0.0))
            silence = silence + passed if touched == claim.touched else 0.0
            if silence > claim.seconds or claim.dead():
                claim.clear()
            else:
                self._silent[claim.path] = claim.touched, silence
                self._report(claim, now)
        return not self._silent

    def _report(self, claim: Claim, now: float) -> None:
        if not self._reported and now - self._began > PATIENCE:
            self._reported = True
            sys.stderr.write(
                f"waiting for {claim}; after {claim.seconds:g} s without a sign of life it counts as gone\n"
            )


class Lease:
    """A lease that is held inside `with`. A thread touches its claim to show that its holder is alive.

    claim: the path of the claim.
    """

    def __init__(self, claim: Path) -> None:
        self.claim = claim
        self.lost = False
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, args=(seconds() / BEATS,), daemon=True)

    def __enter__(self) -> Self:
        self._beating.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        with suppress(OSError):  # taken over, or on a disk that is gone
            self.claim.unlink()
        self._beating.join()

    def held(self) -> bool:
        """Touch the claim. Return whether it still exists. If not, `lost` becomes true."""
        try:
            os.utime(self.claim)
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass  # the disk may be away for a moment, so this is no proof
        return not self.lost

    def _beat(self, pause: float) -> None:
        while not self._over.wait(pause) and self.held():
            pass


def take(path: Path, making: str, option: str = "--store") -> Lease | None:
    """Return the lease of a path, or None if another process holds it or wants it at the same moment.

    Raise PrunebenchError if no claim can be written.

    path: the path to claim.
    making: the task of the holder, for the message to those who wait.
    option: the command-line option that sets the folder of the path.
    """
    if not Watch(path).free():
        return None
    claim = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with writing(path, option):
        claim.parent.mkdir(parents=True, exist_ok=True)
        try:
            claim.write_text(json.dumps(_own(making)))
        except BaseException:
            claim.unlink(missing_ok=True)
            raise
    if len(claims(path.parent, path.name)) > 1:
        claim.unlink(missing_ok=True)
        return None
    return Lease(claim)


def _own(making: str) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "machine": _machine(),
        "host": platform.node(),
        "making": making,
        "since": time.strftime(SINCE, time.gmtime()),
        "seconds": seconds(),
    }


@contextmanager
def lease(path: Path, making: str, option: str = "--store") -> Iterator[Lease]:
    """Wait for the lease of a path and hold it. Arguments and errors are those of `take`."""
    watch = Watch(path)
    while not (watch.free() and (held := take(path, making, option))):
        time.sleep(LOOK * random.uniform(0.1, 1))  # at random, so that two do not collide again and again
    with held:
        yield held
