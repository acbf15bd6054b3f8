"""Errors a user can cause. Each message says what was asked, what exists and what to do, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PrunebenchError(Exception):
    """Something the user can mend. The command line prints its message without a traceback."""


class DataAbsentError(PrunebenchError):
    """A dataset's files are not on this machine; the message says where to get them."""


class DivergedError(PrunebenchError):
    """A training produced a loss that is not finite; the message names step and learning rate."""


class MissingArtefactError(PrunebenchError):
    """A stored artefact that a stage reads is gone or damaged, and must be made again."""

    def __init__(self, key: str) -> None:
        super().__init__(f"artefact {key[:12]} is gone or damaged; prunebench run makes it again")
        self.key = key


class BusyError(PrunebenchError):
    """An artefact that another process is making at the moment."""

    def __init__(self, key: str) -> None:
        super().__init__(f"artefact {key[:12]} is being made by another process")
        self.key = key


def unknown(kind: str, name: str, known: Iterable[str], see: str) -> PrunebenchError:
    """Build the error for a `name` that is not among the `known` ones of this `kind`.

    `see` says where to look: a command, or the place that lists what exists.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known) or 'none'}."
    return PrunebenchError(f"no {kind} named {name!r}. {hint} See: {see}")


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise a one-line error about the field `name` unless its value is as expected."""
    if not holds:
        raise PrunebenchError(f"{name} is {value!r}, expected {expected}")
