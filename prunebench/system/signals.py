"""The signals that end a command, in one line: Ctrl-C, SIGTERM and SIGHUP.

Next to nothing is imported here, so that they are heard before all else is.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # the module typing takes longer to import than all else here
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

INTERRUPTED = "Interrupted. The same command goes on from here."
STOPPED = 130  # the exit code
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
STARTING, WORKING, STOPPING, DONE = "starting", "working", "stopping", "done"
state = {"phase": STARTING}  # of the one command that a process runs


def listen() -> None:
    """Let signals that would end this process do so in one line. What nohup ignores stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _hear)
    sys.unraisablehook = _lost
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _answer_by(signal.SIG_DFL))


def _hear(_signal: int, _frame: Any) -> None:
    """Stop a command at work in good order; end one that starts, is stopping already or is done, at once."""
    if state["phase"] != WORKING:
        end_at_once()
    state["phase"] = STOPPING
    raise KeyboardInterrupt


def _lost(unraisable: Any) -> None:
    """End a command whose interrupt Python could not raise, as in a destructor."""
    if unraisable.exc_type is KeyboardInterrupt:
        end_at_once()
    sys.__unraisablehook__(unraisable)


def no_more() -> None:
    """Pass over all further signals: the last line of the command is being said."""
    _answer_by(signal.SIG_IGN)


def _answer_by(action: Any) -> None:
    """Let the signals that we hear be answered by `action` from now on."""
    for number in SIGNALS:
        if signal.getsignal(number) is _hear:
            signal.signal(number, action)


def end_at_once() -> NoReturn:
    """End this process in one line, whatever it is doing. Its workers notice, and end too."""
    no_more()
    line = f"{INTERRUPTED}\n"
    if os.isatty(2):
        line = f"\r\x1b[K\x1b[?25h{line}"  # over what is left of a bar, and with the cursor that it hid
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(STOPPED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop what is inside just as Ctrl-C does, unless somebody else hears them."""
    import threading

    def stop(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
