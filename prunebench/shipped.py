"""The files that come with prunebench beside its code: suites, recipes, claims, published numbers."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError


def shipped() -> Path:
    """Return the folder of the suites that come with prunebench."""
    inside = Path(__file__).parent / "benchmarks"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "benchmarks"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise PrunebenchError naming file and line where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets in brackets
        raise PrunebenchError(f"{path}: {error}") from None
