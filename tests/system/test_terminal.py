"""How a command meets its terminal: what it says to whom, and how it ends when it is told to."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from prunebench.results.rows import read

pytestmark = pytest.mark.usefixtures("heard")
LINE = "Interrupted. The same command goes on from here.\n"
FULL = "Error: standard output cannot be written: No space left on device\n"
SAID = "… · ± é ж 写 🙂"
WESTERN = ["ascii", "latin-1", "iso8859-15", "cp437", "cp850", "cp1252", "utf-8", "utf-16"]
ENCODINGS = [*WESTERN, "cp1251", "koi8-r", "cp932", "euc-jp", "gbk"]
SLOW = """
import os, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Slow(Scorer):
    name = "slow"
    note: str

    def score(self, images):
        Path(self.note).write_text(str(os.getpid()))
        while True:
            time.sleep(0.01)

@dataclass(frozen=True, kw_only=True)
class Deaf(Scorer):
    name = "deaf"
    note: str

    def score(self, images):
        while True:
            try:
                Path(self.note).write_text("deaf")
                time.sleep(0.01)
            except BaseException:
                Path(self.note).with_suffix(".heard").touch()

@hookimpl
def register_scorers():
    return [Slow, Deaf]
"""
SUITE = """
title = "Slow"
datasets = ["digits"]
methods = ["m"]
ratios = [90]
seeds = 1
recipe = "tiny"
[method.m]
selector = "top"
scorer = {{part = '{part}', note = '{note}'}}
"""


@pytest.fixture
def script(tmp_path):
    """script("echo('x')") runs this as the work of a command, after its start: a finished process."""

    def run(work, phase="working", **options):
        text = "import os, signal, sys\nfrom prunebench.system import signals\n"
        text += "from prunebench.system.terminal import *\n"
        text += f"def work():\n  signals.state['phase'] = '{phase}'\n  {work}\nsignals.listen()\nrun(work)"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path, **options}
        return subprocess.run([sys.executable, "-c", text], timeout=60, **options)

    return run


KILL = "os.kill(os.getpid(), signal.SIGINT)"


def wait_until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


# Output


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_an_encoding_lacks_is_escaped(script, encoding):
    told = script(f"echo('{SAID}')", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.decode(encoding) == f"{SAID.encode(encoding, 'backslashreplace').decode(encoding)}\n"


@pytest.mark.parametrize("line", ["labels --suite quickstart", "run --help"])
def test_so_it_is_for_commands(process, line):
    told = process(line, PYTHONIOENCODING="ascii")
    assert (told.code, told.err) == (0, "")
    assert told.out.isascii() and len(told.out.splitlines()) > 3


def test_a_locale_without_an_encoding_is_no_obstacle(process):
    told = process("list methods", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (told.code, told.err) == (0, "")


@pytest.mark.parametrize("line", ["list scorers", "--help", "--version", "run --help", "list plugins"])
def test_a_full_disk_is_one_line(tmp_path, line):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "prunebench", *line.split()]
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert (told.returncode, told.stderr) == (1, FULL)


@pytest.mark.parametrize("reader", ["gone", pytest.param("full", marks=pytest.mark.slow)])
def test_a_run_that_nobody_can_read_keeps_its_rows_and_goes_on(tmp_path, suite_file, reader):
    path = suite_file(SUITE.format(part="-", note="-").partition("[method")[0])
    line = f"run --suite {path} --methods random --ratios 80,90 --seeds 2 --set recipe.epochs=1 --workers 0"
    out = os.open("/dev/full", os.O_WRONLY)
    if reader == "gone":
        left, out = os.pipe()
        os.close(left)
    command = [sys.executable, "-m", "prunebench", *line.split()]
    told = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(out)
    assert (told.returncode, told.stderr) == {"full": (1, FULL), "gone": (0, "")}[reader]
    assert len(read(tmp_path / "leaderboard", "toys")[0]) == 4
    assert (tmp_path / "leaderboard" / "toys.md").exists()


def test_a_reader_that_takes_its_time_gets_all(script):
    left, right = os.pipe()
    os.set_blocking(right, False)
    reader = subprocess.Popen(["sh", "-c", "sleep 0.3; wc -c"], stdin=left, stdout=subprocess.PIPE)
    os.close(left)
    assert script("echo('x' * 1_000_000)", stdout=right).returncode == 0
    os.close(right)
    assert int(reader.communicate()[0]) == 1_000_001


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_a_stream_that_is_closed_is_nobodys_business(script, tmp_path, closed):
    work = "echo(sys.stdin.read() + 'out'); echo('err', err=True); echo(open('own', 'w').fileno() > 2)"

    def close():
        for number in closed:
            os.close(number)

    told = script(work, preexec_fn=close, stdin=subprocess.DEVNULL)
    assert told.returncode == 0
    assert told.stdout == (b"" if 1 in closed else b"out\nTrue\n")
    assert told.stderr == (b"" if 2 in closed else b"err\n")
    assert (tmp_path / "own").read_bytes() == b""


# Signals


@pytest.fixture
def slow(install, spawn, suite_file, tmp_path):
    """slow("slow", "--workers 1") is a run in the middle of a stage of this scorer."""

    def begun(part="slow", more="--workers 1"):
        install("slow", SLOW)
        note = tmp_path / "note"
        run = spawn(f"run --suite {suite_file(SUITE.format(part=part, note=note))} {more}")
        wait_until(lambda: (note.exists() and note.read_text()) or run.poll() is not None)
        return run

    return begun


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def check_end(run, tmp_path):
    _out, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (130, LINE)
    wait_until(lambda: gone(int((tmp_path / "note").read_text())))
    assert not list((tmp_path / "store" / "making").glob("*"))
    assert not list((tmp_path / "store" / "failures").glob("*"))


def test_a_signal_in_the_middle_of_a_stage_is_one_line(slow, tmp_path):
    run = slow()
    os.kill(run.pid, signal.SIGTERM)  # the runner alone, as batch systems may
    check_end(run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize("tell", [os.killpg, os.kill], ids=["group", "runner alone"])
def test_so_is_any_signal_to_anybody(slow, tmp_path, tell, number):
    run = slow()
    tell(run.pid, number)
    check_end(run, tmp_path)


@pytest.mark.parametrize("pause", [0.01, *(pytest.param(t, marks=pytest.mark.slow) for t in (0, 0.001, 0.1))])
def test_ctrl_c_twice_is_one_line_too(slow, tmp_path, pause):
    run = slow()
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(pause)
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGINT)
    check_end(run, tmp_path)


def test_a_second_ctrl_c_ends_what_does_not_listen(slow, tmp_path):
    run = slow("deaf", "--workers 0")
    os.killpg(run.pid, signal.SIGINT)
    wait_until((tmp_path / "note.heard").exists)
    os.killpg(run.pid, signal.SIGINT)
    _out, err = run.communicate(timeout=5)
    assert (run.returncode, err) == (130, LINE)


def test_closing_the_terminal_stops_a_run(install, suite_file, tmp_path):
    install("slow", SLOW)
    note = tmp_path / "note"
    line = f"run --suite {suite_file(SUITE.format(part='slow', note=note))} --workers 1"
    window, terminal = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "prunebench", *line.split()],
        **dict.fromkeys(("stdin", "stdout", "stderr"), terminal),
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    try:
        wait_until(lambda: (note.exists() and note.read_text()) or run.poll() is not None)
        os.close(window)
        assert run.wait(timeout=20) == 130
        wait_until(lambda: gone(int(note.read_text())))
    finally:
        run.kill()
        run.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_during_start_up_is_one_line(spawn, tmp_path, monkeypatch, number):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "typer.py").write_text("import time\nopen('note', 'w')\ntime.sleep(60)\n")
    run = spawn("list scorers", PYTHONPATH=str(tmp_path / "site"))
    wait_until((tmp_path / "note").exists)
    os.killpg(run.pid, number)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out, err) == (130, "", LINE)


def test_what_nohup_ignores_stays_ignored(script):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    told = script("os.kill(os.getpid(), signal.SIGHUP); echo('on')", preexec_fn=ignore)
    assert (told.returncode, told.stdout) == (0, b"on\n")


@pytest.mark.parametrize(
    "work",
    [
        KILL,
        f"try:\n    {KILL}\n  except KeyboardInterrupt:\n    raise ImportError('mine')",
        f"class Old:\n    def __del__(self):\n      {KILL}\n  Old()\n  echo('on')",
        f"import atexit; atexit.register(lambda: {KILL}); {KILL}",
        f"import atexit; atexit.register(lambda: {KILL})",
    ],
    ids=["plain", "turned into an error", "in a destructor", "again while exiting", "while exiting"],
)
@pytest.mark.parametrize("phase", ["starting", "working"])
def test_no_interrupt_is_lost_or_told_twice(script, work, phase):
    told = script(work, phase)
    assert (told.returncode, told.stdout, told.stderr.decode()) == (130, b"", LINE)


def test_a_forked_child_answers_as_if_it_were_no_command(script):
    child = "if not os.fork():\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    told = script(f"{child}  echo(os.waitstatus_to_exitcode(os.wait()[1]))")
    assert (told.returncode, told.stdout, told.stderr) == (0, b"-15\n", b"")
