"""Canonical JSON, and JSON files with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return the canonical JSON of `value`, from which keys are made: sorted, without spaces, finite."""
    return _ENCODER.encode(value)


def sealed(entry: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file with the fields of `entry` and their checksum in the field `check`."""
    return json.dumps({**entry, "check": _check(entry)}, indent=1).encode()


def unsealed(path: Path | str) -> dict[str, Any] | None:
    """Return the JSON object of a file that `sealed` made, or None if the file is gone or damaged."""
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123 - building a Path takes longer than reading
            entry = from_json(file.read())
        if isinstance(entry, dict) and entry.pop("check", None) == _check(entry):
            return entry
    except (OSError, ValueError, RecursionError):
        pass
    return None


def _check(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(entry).encode()).hexdigest()
