"""Leases: of all processes that would do one thing, on any machine, one does, and shows that it is alive.

PATH.TOKEN   a claim on what PATH stands for: whose it is and since when, as JSON, touched by a thread

A lease asks of a disk only that files can be made, listed, touched and deleted. It needs no lock of the
operating system, so it holds on network disks without locks too.

One holder. Whoever wants the lease writes a claim under a name that nobody else ever uses. Then it lists
the claims. It holds the lease where its own claim is the only one. Else it deletes its claim and tries
again later. Two that write at once never both hold: the list of the later writer has both claims.

Takeover. Whoever waits deletes the claim of a dead process of this machine at once. Any other claim is
deleted once it was seen untouched for as long as it grants itself. Nothing more is taken over: what follows
is the race for a free lease. Names are never used twice, so a late deletion cannot hit a newer claim.

Fence. A holder that was stopped and wakes up finds its claim gone (`held`) before it stores what it made,
and drops that. It may be stopped once more between this look and the storing. Then two whole results of one
key meet, and the store keeps the first. A wrong takeover wastes work and never spoils a result.

Clocks. Whoever waits counts on its own monotonic clock for how long it saw no change. Time in which it did
not look does not count. No two clocks are compared, so a clock that jumps does not matter.
"""

from __future__ import annotations

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

SECONDS = 60.0  # without a sign of life, after which a process counts as gone
BEATS = 6  # signs of life in that time
PATIENCE = 3.0  # seconds of waiting before it is told
LOOK = 0.1  # seconds between two looks of who waits
BLINK = 1.0  # seconds at most that count as watched between two looks
CLAIM = re.compile(r"(.+)\.([0-9a-f]{32})")


def seconds() -> float:
    """Return how long a process may show no sign of life: PRUNEBENCH_LEASE, or a minute.

    Raise PrunebenchError for anything but a positive number.
    """
    told = os.environ.get("PRUNEBENCH_LEASE", "") or str(SECONDS)
    with suppress(ValueError):
        if 0 < float(told) < float("inf"):
            return float(told)
    raise PrunebenchError(f"PRUNEBENCH_LEASE is {told!r}, expected a positive number of seconds")


@dataclass(frozen=True)
class Claim:
    """A claim as it was last seen. touched: its time of change. facts: who wrote it, {} if unreadable."""

    path: Path
    touched: int
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The file name of what is claimed."""
        return self.path.name[:-33]

    @property
    def seconds(self) -> float:
        """How long its holder may show no sign of life."""
        return self.facts["seconds"] if self.facts else seconds()

    def dead(self) -> bool:
        """Whether its holder was a process of this machine that has ended."""
        if not self.facts or self.facts["machine"] != _machine() or os.name == "nt":
            return False  # on Windows the question itself would end the process
        try:
            os.kill(self.facts["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it lives, and is another user's
        born = _born(self.facts["pid"])
        return born is not None and born != self.facts["born"]

    def clear(self) -> None:
        """Delete the claim of a holder that is gone, if this disk lets us."""
        with suppress(OSError):  # what cannot be deleted is told when the own claim is written
            self.path.unlink()

    def __str__(self) -> str:
        if not self.facts:
            return f"an unknown process ({self.path})"
        told = {name: str(self.facts[name])[:100] for name in ("pid", "host", "making", "since")}
        text = "process {pid} on {host}: {making}, begun {since}".format(**told)
        return "".join(letter if letter.isprintable() else "?" for letter in text)


def claims(folder: Path, name: str | None = None) -> list[Claim]:
    """Return the claims on the paths in a folder, or on the one called `name`."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for entry in names:
        claim = CLAIM.fullmatch(entry)
        if claim and name in (None, claim[1]):
            with suppress(FileNotFoundError):  # given back since
                found.append(_seen(folder / entry))
    return found


def _seen(path: Path) -> Claim:
    try:
        content = path.read_bytes()  # before the time: on a network disk it asks anew how the file is
    except PermissionError:
        content = b""
    try:
        facts = json.loads(content)
        known = facts["pid"] > 0 and facts["seconds"] > 0 and isinstance(facts["pid"], int)
        known = known and {"machine", "born", "host", "making", "since"} <= facts.keys()
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    return Claim(path, path.stat().st_mtime_ns, facts if known else {})


@cache
def _machine() -> str:
    """Name this running system and its table of processes: within it a process is known by its number."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{uuid.getnode():x}"


def _born(pid: int) -> str | None:
    """Return when a process of this machine began, "" where it has ended, None where that is not told."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if state[0] in "ZX" else state[19]


class Watch:
    """What a waiting process saw of the claims on a path: it alone decides which holders are gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._silent: dict[Path, tuple[int, float]] = {}
        self._looked = self._began = time.monotonic()
        self._told = False

    def free(self) -> bool:
        """Whether nobody holds the lease, once the claims of those that are gone are deleted.

        After a few seconds of waiting, one line on stderr tells for whom.
        """
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, BLINK), now
        before, self._silent = self._silent, {}
        for claim in claims(self.path.parent, self.path.name):
            touched, silence = before.get(claim.path, (None, 0.0))
            silence = silence + passed if touched == claim.touched else 0.0
            if silence > claim.seconds or claim.dead():
                claim.clear()
            else:
                self._silent[claim.path] = claim.touched, silence
                self._tell(claim, now)
        return not self._silent

    def _tell(self, claim: Claim, now: float) -> None:
        if not self._told and now - self._began > PATIENCE:
            self._told = True
            sys.stderr.write(
                f"waiting for {claim}; after {claim.seconds:g} s without a sign of life it counts as gone\n"
            )


class Lease:
    """A lease that is held, from `with` to its end; a thread shows that its holder is alive."""

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
        """Touch the claim; return whether it is still there. Once it is not, `lost` is true."""
        try:
            os.utime(self.claim)
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass  # a disk that is away for a moment says nothing
        return not self.lost

    def _beat(self, pause: float) -> None:
        while not self._over.wait(pause) and self.held():
            pass


def take(path: Path, making: str, option: str = "--store") -> Lease | None:
    """Return the lease of a path, or None where somebody else holds it or wants it at this very moment.

    making: what is done meanwhile, for those who wait. Raise PrunebenchError, with the option that chose
    the path, where no claim can be written.
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
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "seconds": seconds(),
    }


@contextmanager
def lease(path: Path, making: str, option: str = "--store") -> Iterator[Lease]:
    """Hold the lease of a path, after waiting for whoever has it. Raise as `take` does."""
    watch = Watch(path)
    while not (watch.free() and (held := take(path, making, option))):
        time.sleep(LOOK * random.uniform(0.1, 1))  # so that two do not meet again and again
    with held:
        yield held
