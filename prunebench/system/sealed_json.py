"""JSON in its one spelling, and JSON files that tell whether they are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return the one JSON spelling of `value` that keys are made from."""
    return _ENCODER.encode(value)


def sealed(entry: Mapping[str, Any]) -> bytes:
    """Return a JSON object as a file keeps it, with a checksum of its own: the field `check`."""
    check = _check(entry)
    return json.dumps({**entry, "check": check}, indent=1).encode()


def unsealed(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file that `sealed` made; None where it is gone or damaged."""
    try:
        entry = json.loads(path.read_bytes())
        if isinstance(entry, dict) and entry.pop("check", None) == _check(entry):
            return entry
    except (OSError, ValueError, RecursionError):
        pass
    return None


def _check(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(entry).encode()).hexdigest()
