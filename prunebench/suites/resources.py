"""Data files that ship with prunebench: suites, recipes, claims, published numbers."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError


def shipped() -> Path:
    """Return the folder of the shipped data files."""
    package = Path(__file__).parents[1]
    inside = package / "benchmarks"
    return inside if inside.is_dir() else package.parent / "benchmarks"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte-order mark.

    Raise PrunebenchError with the file and line if it is not valid, or if it cannot be read.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, PrunebenchError) as error:
        raise PrunebenchError(f"{path}: {error}") from None
    except OSError as error:
        raise PrunebenchError(f"cannot read {path}: {error.strerror}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Raise TOMLDecodeError if it is not valid. Raise PrunebenchError if a number is too long or brackets are
    nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise  # it is a ValueError too
    except ValueError:
        raise PrunebenchError("a number has thousands of digits") from None
    except RecursionError:
        raise PrunebenchError("too many nested brackets") from None
