"""A command and its terminal: output that never fails, the last line and the exit code."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from prunebench.errors import PrunebenchError
from prunebench.system import signals
from prunebench.system.escaping import plain
from prunebench.system.signals import INTERRUPTED, STOPPED, STOPPING

DONE, FAILED, MISUSED = 0, 1, 2  # exit codes, beside STOPPED
state = {"traceback": False}  # whether to show the traceback of an error


# Output


def take_streams() -> Report:
    """Replace standard output and error by streams that never fail. Return the report of standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # it is closed. The next file that is opened would become standard output
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115 - for as long as the process lives
    sys.stdout, report = _reporting(sys.stdout)
    sys.stderr, _ = _reporting(sys.stderr)
    return report


def _reporting(stream: TextIO | None) -> tuple[TextIO, Report]:
    """Return a stream like this one that takes any text, and its report.

    Characters that its encoding lacks become escapes.
    """
    if stream is None:  # it was closed when Python started
        report = Report(io.FileIO(os.devnull, "w"))
        encoding = "utf-8"
        line_buffering = False
    else:
        report = Report(getattr(stream.buffer, "raw", stream.buffer))  # `python -u` has no buffer around it
        encoding = stream.encoding
        line_buffering = bool(stream.line_buffering)
    buffer = io.BufferedWriter(report)
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=line_buffering), report


class Report(io.RawIOBase):
    """A raw stream to which writing never fails.

    The output of a command is only a report, as its results are in files. So a reader that left, a full disk
    or a closed terminal does not end its work.

    raw: the stream to write to.
    error: the error after which all output is lost, or None.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write as much as possible. After an error, drop the content. Return the number of bytes taken."""
        while self.error is None:
            try:
                if (written := self.raw.write(content)) is not None:
                    return int(written)
                select.select([], [self.raw], [])  # wait for a pipe that is full at the moment
            except OSError as error:
                self.error = error
        return len(content)

    def writable(self) -> bool:
        """Return True, as this stream is for writing."""
        return True

    def isatty(self) -> bool:
        """Whether the stream is a terminal, so that a person may read it."""
        return bool(self.raw.isatty())

    def fileno(self) -> int:
        """Return the descriptor, for libraries that ask."""
        return int(self.raw.fileno())


def echo(text: object = "", err: bool = False) -> None:
    """Print text to standard output or error at once. Characters that steer a terminal are escaped."""
    lines = "\n".join(map(plain, str(text).split("\n")))
    print(lines, file=sys.stderr if err else sys.stdout, flush=True)


# The end


def ended(work: Callable[[], object]) -> int:
    """Do the work of a command. Print an error in one line. Return the exit code."""
    try:
        work()
    except SystemExit as end:
        if end.code == STOPPED:  # typer turns KeyboardInterrupt into this code
            return _stopped()
        if isinstance(end.code, str):
            _print_error(end.code)
            return FAILED
        return end.code or DONE
    except KeyboardInterrupt:
        return _stopped()
    except PrunebenchError as error:
        _print_error(str(error))
        return MISUSED
    except BaseException as error:
        if signals.state["phase"] == STOPPING:  # some libraries turn KeyboardInterrupt into an error
            return _stopped()
        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _print_error(f"{problem}. This is a bug; report it with what prunebench --traceback shows of it.")
        return FAILED
    return DONE


def _print_error(problem: str) -> None:
    if state["traceback"]:
        traceback.print_exc()
    echo(f"Error: {' '.join(problem.splitlines())}", err=True)


def _stopped() -> int:
    signals.no_more()  # so that the line is printed once
    echo(INTERRUPTED, err=True)
    return STOPPED


def run(work: Callable[[], object]) -> NoReturn:
    """Do the work of a command and exit. The process must have no other work."""
    report = take_streams()
    code = ended(work)
    signals.state["phase"] = signals.DONE
    sys.stdout.flush()
    error = report.error
    if error is not None and error.errno != errno.EPIPE:  # a reader, such as `head`, may stop early
        echo(f"Error: standard output cannot be written: {error.strerror}", err=True)
        code = code or FAILED
    if code == STOPPED:
        os._exit(code)  # without waiting for threads that still run
    sys.exit(code)
