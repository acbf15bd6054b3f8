"""Folders that are closed for a while: Python's audit events (PEP 578) show who opens a file in one of them.

Only what is opened through Python is noticed. A library may open files in C, and a child process anywhere.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from prunebench.errors import PrunebenchError

OPENING = ("open", "os.listdir", "os.scandir")  # the audit events whose first argument is a path


@dataclass
class _Doors:
    """What is closed in this process, for all of its threads.

    folders: the closed folders, without links.
    lent: the number of calls that may open files in them at the moment.
    opened: the files that others opened.
    """

    folders: frozenset[str] = frozenset()
    lent: int = 0
    opened: list[str] = field(default_factory=list)


_doors = _Doors()
_counting = threading.Lock()


def real_folder(path: str) -> str:
    """Return the folder of a file, absolute and without links."""
    return os.path.realpath(os.path.dirname(path))  # noqa: PTH120 - a path of an audit event is text


@contextmanager
def closed(folders: frozenset[str], who: str) -> Iterator[None]:
    """Close folders while code runs, in all threads of this process. Folders in them stay open.

    folders: as `real_folder` returns them. Without any, nothing is watched.
    who: the code, for the message.

    Raise PrunebenchError, at the end, if the code opened or listed something in one of the folders.
    """
    if not folders:
        yield
        return
    _watch()
    _doors.folders = folders
    _doors.opened = []
    try:
        yield
    finally:
        _doors.folders = frozenset()
        if _doors.opened:
            raise PrunebenchError(
                f"{who} opens {_doors.opened[0]}, among the files of the dataset, and with it the truth. "
                "Truth reaches a part only as `known_labels`; ask for that, or for images"
            ) from None


@contextmanager
def lent() -> Iterator[None]:
    """Let the core open files in closed folders, such as images that are decoded on request."""
    with _counting:
        _doors.lent += 1
    try:
        yield
    finally:
        with _counting:
            _doors.lent -= 1


@cache
def _watch() -> None:
    """Add the audit hook of this process. It stays, as Python removes none."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _doors.folders or _doors.lent or event not in OPENING:
        return
    if not isinstance(arguments[0], str | bytes | os.PathLike):  # an open file, or the working folder
        return
    path = os.fsdecode(arguments[0])
    if real_folder(path) in _doors.folders or os.path.realpath(path) in _doors.folders:
        _doors.opened.append(path)
        raise PermissionError(f"{path} is closed")
