"""Where a command meets its terminal: output that never fails, its last line and its exit code."""

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
state = {"traceback": False}  # whether to show where an error came from


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
    """Print text to standard output or error, at once, without what would steer a terminal."""
    lines = "\n".join(map(plain, str(text).split("\n")))
    print(lines, file=sys.stderr if err else sys.stdout, flush=True)


# The end


def ended(work: Callable[[], object]) -> int:
    """Do the work of a command, say in one line what went wrong, and return the exit code."""
    try:
        work()
    except SystemExit as end:
        if end.code == STOPPED:  # which is how typer spells KeyboardInterrupt
            return _stopped()
        if isinstance(end.code, str):
            _say(end.code)
            return FAILED
        return end.code or DONE
    except KeyboardInterrupt:
        return _stopped()
    except PrunebenchError as error:
        _say(str(error))
        return MISUSED
    except BaseException as error:
        if signals.state["phase"] == STOPPING:  # some libraries make an error of KeyboardInterrupt
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
    signals.no_more()  # one line, once
    echo(INTERRUPTED, err=True)
    return STOPPED


def run(work: Callable[[], object]) -> NoReturn:
    """Do the work of a command in this process, which is all its own, and exit."""
    report = take_streams()
    code = ended(work)
    signals.state["phase"] = signals.DONE
    sys.stdout.flush()
    lost = report.error
    if lost is not None and lost.errno != errno.EPIPE:  # a reader may leave when it has seen enough
        echo(f"Error: standard output cannot be written: {lost.strerror}", err=True)
        code = code or FAILED
    if code == STOPPED:
        os._exit(code)  # nothing that still runs may delay it
    sys.exit(code)
