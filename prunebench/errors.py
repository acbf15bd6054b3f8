"""Errors that a user can mend. Each message is one line: the request, the known names, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

LISTED = 20  # names that an error lists. Longer lists are left to the command that shows them


class PrunebenchError(Exception):
    """An error that the user can mend. The command line prints its message without a traceback."""


class DataAbsentError(PrunebenchError):
    """The files of a dataset are not on this machine. The message says how to get them."""


class DivergedError(PrunebenchError):
    """The loss of a training is not finite. The message names the step and the learning rate."""


class MissingArtefactError(PrunebenchError):
    """A stored artefact that a stage reads is gone or damaged. It has to be made again.

    key: of the artefact, 64 hex digits.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"artefact {key[:12]} is gone or damaged; prunebench run makes it again")
        self.key = key


class BusyError(PrunebenchError):
    """Another process is making an artefact at the moment.

    key: of the artefact, 64 hex digits.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"artefact {key[:12]} is being made by another process")
        self.key = key


class PartedError(PrunebenchError):
    """A process that trained together with this one has ended."""


def unknown(kind: str, name: str, known: Iterable[str], see: str) -> PrunebenchError:
    """Return the error for an unknown name. It suggests the nearest known name, or lists a few.

    kind: what the name stands for, such as "dataset".
    name: the unknown name.
    known: the names that exist.
    see: the command or page that lists them.
    """
    known = sorted(known)
    if close := difflib.get_close_matches(name, known, n=1):
        hint = f"Did you mean {close[0]!r}? "
    elif len(known) <= LISTED:
        hint = f"Known: {', '.join(known) or 'none'}. "
    else:
        hint = ""
    return PrunebenchError(f"no {kind} named {name!r}. {hint}See: {see}")


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise PrunebenchError unless a value is as expected.

    holds: True if it is.
    name: of the value, such as "recipe.crop".
    value: the value itself.
    expected: the values that are allowed, in words.
    """
    if not holds:
        raise PrunebenchError(f"{name} is {value!r}, expected {expected}")


def choice(name: str, value: object, options: Sequence[str]) -> None:
    """Raise PrunebenchError unless a value is one of two or more texts."""
    *others, last = map(repr, options)
    require(value in options, name, value, f"{', '.join(others)} or {last}")


def number(name: str, value: object) -> None:
    """Raise PrunebenchError unless a value is a number. Python compares no text with numbers."""
    require(isinstance(value, Real), name, value, "a number")


def whole(name: str, value: object) -> None:
    """Raise PrunebenchError unless a value is a whole number."""
    require(isinstance(value, Integral), name, value, "a whole number")


def positive(name: str, value: float) -> None:
    """Raise PrunebenchError unless a value is a number above 0."""
    number(name, value)
    require(value > 0, name, value, "above 0")
