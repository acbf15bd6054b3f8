"""What a run shows while it works: on a terminal a picture, in a file nothing but lines."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from rich.console import Console

from prunebench.errors import BusyError
from prunebench.pipeline.executors.engine import Engine, StageError
from prunebench.pipeline.forecast import Forecast
from prunebench.runs import progress
from prunebench.runs.progress import Live, Report, Running
from prunebench.runs.run import run_matrix


@pytest.fixture
def live(matrix, monkeypatch):
    """live(*methods, ...) is the progress of a run of these methods on a terminal, and its matrix."""
    monkeypatch.setattr(progress, "on_a_terminal", lambda: True)

    def of(*methods, workers=1, **options):
        chosen = matrix(*methods, **options)
        return Live(chosen.missing(), Forecast(), workers, chosen.graph), chosen

    return of


def text(shown):
    console = Console(file=io.StringIO(), width=100, height=40, force_terminal=True, color_system=None)
    shown.console = console
    with console.capture() as capture:
        console.print(shown.picture())
    return capture.get()


def test_a_stage_begins_reports_ends_and_its_cells_with_it(live):
    shown, chosen = live("random", seeds=[0, 1])
    subset, accuracy = (
        chosen.graph.targets[chosen.cells[0]].source("subset"),
        chosen.graph.targets[chosen.cells[0]],
    )
    assert "stages 0/4, workers start" in text(shown)
    assert "time left unknown" in text(shown)
    shown.update(subset.key, 0, 0, 0)
    assert "  subset random toy 50 % seed 0 \n" in re.sub(" +\n", " \n", text(shown))
    assert "cells 0/2 done, 1 running, 1 left" in text(shown)
    shown.ended(subset.key, None)
    shown.made(subset, 1.0)
    shown.update(accuracy.key, 0, 0, 0)
    shown.update(accuracy.key, 1, 4, 32)
    assert "stages 1/4, 1 running" in text(shown)
    assert "25 %" in text(shown)
    shown.ended(accuracy.key, None)
    shown.made(accuracy, 10.0)
    found = text(shown)
    assert "cells 1/2 done, 1 left" in found
    assert "about 11 s left" in found
    assert "  toy random               #." in found


def test_time_left_shrinks_while_a_stage_runs_and_with_more_workers(live):
    shown, chosen = live("random", seeds=[0, 1], workers=2)
    first, second = chosen.graph.targets.values()
    for stage in (first.source("subset"), second.source("subset"), first):
        shown.made(stage, 0.0 if stage.instant else 60.0)
    assert "about 30 s left" in text(shown)
    shown.update(second.key, 0, 0, 0)
    shown.update(second.key, 3, 4, 0)
    assert "about 7.5 s left" in text(shown)


def test_a_failure_fails_its_cells_and_what_follows_is_not_waited_for(live):
    shown, chosen = live("random", "el2n_supervised")
    (random, other) = chosen.graph.targets.values()
    labels = next(stage for stage in other.ancestors() if stage.kind == "labels")
    for stage in (random, random.source("subset")):
        shown.made(stage, 5.0)
    shown.update(labels.key, 0, 0, 0)
    shown.ended(labels.key, StageError("not today"))
    found = text(shown)
    assert "0 running" in found
    assert "cells 1/2 done, 1 failed" in found
    assert not any(stage in shown.left.values() for stage in (labels, other))


def test_what_another_run_makes_is_said(live):
    shown, chosen = live("random")
    subset = chosen.graph.targets[chosen.cells[0]].source("subset")
    shown.ended(subset.key, BusyError(subset.key))
    assert re.search("subset random toy 50 % seed 0 +another run makes it", text(shown))
    shown.made(subset, 1.0)
    assert "another run" not in text(shown)


def test_paces_are_those_since_the_first_report():
    """A training that resumes has made many steps in no time."""
    running = Running(stage=None)
    assert (running.share, running.images_per_second, running.seconds_left) == (None, None, None)
    running.hear(Report(100.0, 50, 100, 64))
    assert (running.share, running.images_per_second, running.seconds_left) == (0.5, None, None)
    running.hear(Report(104.0, 60, 100, 704))
    assert (running.share, running.images_per_second, running.seconds_left) == (0.6, 160.0, 16.0)


def test_images_are_not_invented_where_none_are_counted():
    running = Running(stage=None)
    for second in range(3):
        running.hear(Report(second, second, 100, 0))
    assert (running.images_per_second, running.seconds_left) == (None, 98.0)


def test_a_run_in_this_process_reports_the_images_that_it_trains_on(matrix, monkeypatch):
    heard = []
    monkeypatch.setattr(Live, "update", lambda _live, *report: heard.append(report))
    chosen = matrix("random")
    run_matrix(chosen, Forecast(), None, Engine(workers=0))
    target = chosen.graph.targets[chosen.cells[0]]
    reports = [report for key, *report in heard if key == target.key]
    assert reports[0] == [0, 0, 0]
    assert reports[-1] == [8, 8, 4 * 32]  # four epochs of two steps on half of 64 images


@pytest.mark.parametrize(
    ("terminal", "kind", "shown"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)]
)
def test_a_picture_is_for_terminals(monkeypatch, terminal, kind, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("FORCE_COLOR", "1")  # for which rich takes anything for a terminal
    assert progress.on_a_terminal() == shown


SLOW = """
import time
from dataclasses import dataclass
from prunebench import Selector, hookimpl

@dataclass(frozen=True, kw_only=True)
class Slow(Selector):
    name = "slow"

    def select(self, images, keep, progress):
        for step in range(1000):
            progress(step, 1000)
            time.sleep(0.1)

@hookimpl
def register_selectors():
    return [Slow]
"""
SUITE = """
title = "Slow"
datasets = ["digits"]
methods = ["random", "m"]
ratios = [90]
seeds = 1
recipe = "tiny"
[method.m]
selector = "slow"
"""


def test_ctrl_c_leaves_the_terminal_clean_and_a_file_has_the_lines(heard, cli, install, suite_file, tmp_path):
    install("slow", SLOW)
    line = f"run --suite {suite_file(SUITE)} --workers 0 --set recipe.epochs=1"
    assert cli(f"{line} --methods random").code == 0
    window, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with (tmp_path / "lines").open("wb") as lines:
        run = subprocess.Popen(
            [sys.executable, "-m", "prunebench", *line.split()],
            **dict.fromkeys(("stdin", "stderr"), terminal),
            stdout=lines,
            cwd=tmp_path,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(terminal)
    seen = b""
    try:
        while b"subset m{recipe.epochs=1} digits 90 %" not in seen:
            assert select.select([window], [], [], 60)[0], "it shows nothing"
            seen += os.read(window, 65536)
        os.write(window, b"\x03")
        with suppress(OSError):  # the other end is closed
            while more := os.read(window, 65536):
                seen += more
        assert run.wait(timeout=20) == 130
    finally:
        run.kill()
        run.wait()
        os.close(window)
    assert b"cells 1/2 done, 1 running" in seen
    last = seen.rpartition(b"\x1b[?25h")[2]  # the cursor is shown again
    assert (
        re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\^C|\r", b"", last)
        == b"Interrupted. The same command goes on from here.\n"
    )
    assert re.fullmatch(
        r"1/2  digits +random\S+ +90 %  seed 0 +[0-9.]+ % +stored\n", (tmp_path / "lines").read_text()
    )
