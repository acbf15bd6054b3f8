"""The files that come with prunebench beside its code: suites, recipes, claims, published numbers."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError


def shipped() -> Path:
    """Return the folder of the suites that come with prunebench."""
    package = Path(__file__).parents[1]
    inside = package / "benchmarks"
    return inside if inside.is_dir() else package.parent / "benchmarks"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte-order mark.

    Raise PrunebenchError naming file and line where it is not valid.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, PrunebenchError) as error:
        raise PrunebenchError(f"{path}: {error}") from None
    except OSError as error:
        raise PrunebenchError(f"cannot read {path}: {error.strerror}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the values of TOML; raise TOMLDecodeError, or PrunebenchError for what is too much to hold."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise PrunebenchError("a number has thousands of digits") from None
    except RecursionError:
        raise PrunebenchError("too many brackets inside one another") from None
