"""The signals that end a command: Ctrl-C, SIGTERM and SIGHUP. The command then prints one line.

This module imports next to nothing, so that it handles signals before the other imports are done.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # importing the module typing would take longer than all other imports here
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

INTERRUPTED = "Interrupted. The same command goes on from here."
STOPPED = 130  # the exit code of an interrupted command
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
STARTING, WORKING, STOPPING, DONE = "starting", "working", "stopping", "done"
state = {"phase": STARTING}  # of the command, as a process runs only one


def listen() -> None:
    """Handle the signals that would end this process. Signals that nohup ignores stay ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _hear)
    sys.unraisablehook = _lost
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _answer_by(signal.SIG_DFL))


def _hear(_signal: int, _frame: Any) -> None:
    """Interrupt a working command, so that it can clean up. End it at once in any other phase."""
    if state["phase"] != WORKING:
        end_at_once()
    state["phase"] = STOPPING
    raise KeyboardInterrupt


def _lost(unraisable: Any) -> None:
    """End the command if Python could not raise its interrupt, as in a destructor."""
    if unraisable.exc_type is KeyboardInterrupt:
        end_at_once()
    sys.__unraisablehook__(unraisable)


def no_more() -> None:
    """Ignore all further signals, because the command prints its last line."""
    _answer_by(signal.SIG_IGN)


def _answer_by(action: Any) -> None:
    """Set the reaction to the signals that `listen` handles."""
    for number in SIGNALS:
        if signal.getsignal(number) is _hear:
            signal.signal(number, action)


def end_at_once() -> NoReturn:
    """Print one line and end this process at once. Its workers notice, and end too."""
    no_more()
    line = f"{INTERRUPTED}\n"
    if os.isatty(2):
        line = f"\r\x1b[K\x1b[?25h{line}"  # clears a progress bar, and shows the cursor that it hid
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(STOPPED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt inside, as Ctrl-C does.

    A signal with another handler keeps it. In a thread other than the main one, nothing changes.
    """
    import threading

    def stop(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    unhandled = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)
