"""The first import of a third-party plugin runs in its own process, where it may hang or crash.

A survived import is recorded with the sizes and times of the plugin's files. So only an edited plugin is
tried again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, version
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.system.isolation import python

# Limit of an import, unless PRUNEBENCH_IMPORT_TIMEOUT sets another. On a busy machine torch alone takes 12.
SECONDS = 60.0
SURVIVED = 79  # an exit code that no import ends with by chance


def survive(entry: EntryPoint) -> None:
    """Import a plugin in another process, unless it survived that before.

    An exception in that import counts as survived: this process will raise it again. Raise PrunebenchError
    if the import takes too long or ends its process.
    """
    record = _record(entry)
    if record is None or record.exists():
        return
    limit = float(os.environ.get("PRUNEBENCH_IMPORT_TIMEOUT") or SECONDS)
    arguments = f"{entry.name!a}, {entry.value!a}, {entry.group!a}"
    statement = f"from prunebench.parts.registry import attempt; attempt({arguments})"
    nothing = subprocess.DEVNULL
    try:
        code = subprocess.run(
            python(statement), stdin=nothing, stdout=nothing, stderr=nothing, timeout=limit
        ).returncode
    except subprocess.TimeoutExpired:
        raise PrunebenchError(
            f"importing {entry.value} takes more than {limit:g} s; "
            "if it is only slow, set PRUNEBENCH_IMPORT_TIMEOUT to more seconds"
        ) from None
    if code != SURVIVED:
        raise PrunebenchError(f"importing {entry.value} ends the process ({_ending(code)})")
    with suppress(OSError):  # without the record, the import is tried again next time
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()


def _ending(code: int) -> str:
    with suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def _record(entry: EntryPoint) -> Path | None:
    """Return the path of the file that records a survived import, or None if there is no such module."""
    try:
        spec = importlib.util.find_spec(entry.value.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    files: list[Path] = []
    for folder in map(Path, spec.submodule_search_locations or ()):
        files += [path for path in folder.rglob("*") if path.suffix != ".pyc"]
    files.sort()
    if spec.has_location and spec.origin:
        files.append(Path(spec.origin))
    stamp = [sys.version, version("prunebench"), entry.value, spec.origin]
    for path in files:
        with suppress(OSError):
            stat = path.stat()
            stamp.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    name = hashlib.sha256(repr(stamp).encode()).hexdigest()
    return _cache() / "prunebench" / "plugins" / name


def _cache() -> Path:
    """Return the user's cache folder, or, without a home folder, a path that cannot be written."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)
