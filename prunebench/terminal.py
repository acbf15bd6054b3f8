"""Where a command meets its terminal: output that never fails, signals, the last line and the exit code.

Nothing heavy is imported here, so that Ctrl-C is heard before all else is.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from prunebench.errors import PrunebenchError

INTERRUPTED = "Interrupted. The same command goes on from here."
DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130  # exit codes
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
STARTING, WORKING, STOPPING = "starting", "working", "stopping"
state = {"phase": STARTING, "traceback": False}  # of the one command that a process runs


# Output


def take_streams() -> Report:
    """Let standard output and error never fail; return what becomes of standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: without this, the next file that is opened would become standard output
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115 - for as long as the process lives
    sys.stdout, report = _reporting(sys.stdout)
    sys.stderr, _ = _reporting(sys.stderr)
    return report


def _reporting(stream: TextIO | None) -> tuple[TextIO, Report]:
    """Return a stream like this one that takes any text: what its encoding lacks becomes an escape."""
    if stream is None:  # it was closed when Python started
        report, encoding, lines = Report(io.FileIO(os.devnull, "w")), "utf-8", False
    else:
        report = Report(getattr(stream.buffer, "raw", stream.buffer))  # the same where Python is unbuffered
        encoding, lines = stream.encoding, bool(stream.line_buffering)
    buffer = io.BufferedWriter(report)
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=lines), report


class Report(io.RawIOBase):
    """A raw stream to which writing never fails. `error` is why the rest is lost, None while nothing is.

    What a command says is a report: its results are in files. So a reader that left, a full disk or a
    closed terminal ends no work.
    """

    def __init__(self, raw: Any) -> None:
        self.raw, self.error = raw, None  # type: tuple[Any, OSError | None]

    def write(self, content: Any) -> int:
        """Write what can be written now, or lose all of it."""
        while self.error is None:
            try:
                if (written := self.raw.write(content)) is not None:
                    return int(written)
                select.select([], [self.raw], [])  # a pipe that is full for the moment
            except OSError as error:
                self.error = error
        return len(content)

    def writable(self) -> bool:
        """As every stream that is written to."""
        return True

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return bool(self.raw.isatty())

    def fileno(self) -> int:
        """Return the descriptor, for libraries that ask."""
        return int(self.raw.fileno())


def echo(text: object = "", err: bool = False) -> None:
    """Print a line to standard output or error, at once."""
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


# Signals


def listen() -> None:
    """Let signals that would end this process do so in one line. What nohup ignores stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _hear)
    sys.unraisablehook = _lost
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _answer_by(signal.SIG_DFL))


def _hear(_signal: int, _frame: Any) -> None:
    """Stop a command at work in good order. End one that starts, or that is stopping already, at once."""
    if state["phase"] != WORKING:
        end_at_once()
    state["phase"] = STOPPING
    raise KeyboardInterrupt


def _lost(unraisable: Any) -> None:
    """End a command whose interrupt Python could not raise, as in a destructor."""
    if unraisable.exc_type is KeyboardInterrupt:
        end_at_once()
    sys.__unraisablehook__(unraisable)


def _answer_by(action: Any) -> None:
    """Let the signals that we hear be answered by `action` from now on."""
    for number in SIGNALS:
        if signal.getsignal(number) is _hear:
            signal.signal(number, action)


def end_at_once() -> NoReturn:
    """End this process in one line, whatever it is doing. Its workers notice, and end too."""
    _answer_by(signal.SIG_IGN)
    line = f"{INTERRUPTED}\n"
    if os.isatty(2):
        line = f"\r\x1b[K\x1b[?25h{line}"  # over what is left of a bar, and with the cursor that it hid
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(STOPPED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop what is inside just as Ctrl-C does, unless somebody else hears them."""

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


# The end


def ended(work: Callable[[], object]) -> int:
    """Do the work of a command, say in one line what went wrong, and return the exit code."""
    try:
        work()
    except SystemExit as end:
        if end.code == STOPPED:  # which is how typer spells KeyboardInterrupt
            return _stopped()
        return end.code if isinstance(end.code, int) else FAILED if end.code else DONE
    except KeyboardInterrupt:
        return _stopped()
    except PrunebenchError as error:
        _say(str(error))
        return MISUSED
    except BaseException as error:
        if state["phase"] == STOPPING:  # some libraries turn KeyboardInterrupt into an error of theirs
            return _stopped()
        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _say(f"{problem}. This is a bug; report it with what prunebench --traceback shows of it.")
        return FAILED
    return DONE


def _say(problem: str) -> None:
    if state["traceback"]:
        traceback.print_exc()
    echo(f"Error: {' '.join(problem.splitlines())}", err=True)


def _stopped() -> int:
    _answer_by(signal.SIG_IGN)  # one line, once
    echo(INTERRUPTED, err=True)
    return STOPPED


def run(work: Callable[[], object]) -> NoReturn:
    """Do the work of a command in this process, which is all its own, and exit."""
    listen()
    report = take_streams()
    code = ended(work)
    sys.stdout.flush()
    lost = report.error
    if lost is not None and lost.errno != errno.EPIPE:  # a reader may leave when it has seen enough
        echo(f"Error: standard output cannot be written: {lost.strerror}", err=True)
        code = code or FAILED
    if code == STOPPED:
        os._exit(code)  # nothing that still runs may delay it
    sys.exit(code)
