"""The first import of a stranger's plugin, in a process of its own: it may hang there, or kill the process.

What survived is remembered by the files it was read from, so that only an edited plugin is tried again.
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

SECONDS = 10.0  # that an import may take, unless PRUNEBENCH_IMPORT_TIMEOUT says otherwise
SURVIVED = 79  # a code that no import ends with by chance


def survive(entry: EntryPoint) -> None:
    """Import a plugin in another process, unless that went well before.

    An exception is nothing to worry about: it will be raised here again. Raise PrunebenchError where the
    import takes too long or ends its process.
    """
    memory = _memory(entry)
    if memory is None or memory.exists():
        return
    limit = float(os.environ.get("PRUNEBENCH_IMPORT_TIMEOUT") or SECONDS)
    given = f"{entry.name!a}, {entry.value!a}, {entry.group!a}"
    statement = f"from prunebench.parts.registry import attempt; attempt({given})"
    nothing = subprocess.DEVNULL
    try:
        code = subprocess.run(
            python(statement), stdin=nothing, stdout=nothing, stderr=nothing, timeout=limit
        ).returncode
    except subprocess.TimeoutExpired:
        raise PrunebenchError(
            f"importing {entry.value} takes more than {limit:g} s; "
            "if it only is slow, set PRUNEBENCH_IMPORT_TIMEOUT to more seconds"
        ) from None
    if code != SURVIVED:
        raise PrunebenchError(f"importing {entry.value} ends the process ({_ending(code)})")
    with suppress(OSError):  # then it is tried again the next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.touch()


def _ending(code: int) -> str:
    with suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def _memory(entry: EntryPoint) -> Path | None:
    """Return the file that stands for a survived import; None where there is nothing to import."""
    try:
        spec = importlib.util.find_spec(entry.value.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix != ".pyc")
    stamp = [sys.version, version("prunebench"), entry.value, spec.origin]
    for path in (*files, *([Path(spec.origin)] if spec.has_location and spec.origin else [])):
        with suppress(OSError):
            stat = path.stat()
            stamp.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    name = hashlib.sha256(repr(stamp).encode()).hexdigest()
    return _cache() / "prunebench" / "plugins" / name


def _cache() -> Path:
    """Return the user's cache; where nobody has a home, a place in which nothing can be remembered."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)
