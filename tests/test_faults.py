"""Killed, interrupted, run twice at once: the same command ends with the same results all the same."""

import os
import signal
import time

import pytest

from prunebench import leaderboard, results
from prunebench.pages import page_of
from prunebench.signals import interruptible

SUITE = """
title = "Digits"
datasets = ["digits"]
methods = ["random", "aum_supervised", "forgetting_supervised"]
ratios = [30, 90]
seeds = 2
recipe = "tiny"
"""
STAGES = 32  # known, labels, 2 dynamics, 4 scores, 12 subsets, 12 accuracies
OPTIONS = "--set recipe.epochs=2 --store {0}/store --results {0}"


@pytest.fixture
def command(suite_file, tmp_path):
    """command("a") is the run, with its store and its results in a folder of this name."""
    path = suite_file(SUITE)
    return lambda folder: f"run --suite {path} {OPTIONS.format(tmp_path / folder)}"


def stored(folder):
    return len(list((folder / "store").glob("??/*/manifest.json")))


def wait_until(holds, process, seconds=60):
    """Wait until something holds, or the process has ended."""
    end = time.monotonic() + seconds
    while not holds() and process.poll() is None:
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def summary(folder):
    """Return what a run says about each cell, and its table of accuracies."""
    rows, complaints = results.read(folder, "toys")
    assert complaints == []
    cells = {(row.method, row.ratio, row.seed): (row.accuracy, row.subset_key) for row in rows}
    assert len(cells) == len(rows) == 12
    page = page_of("toys", folder)
    return cells, leaderboard.text(page, only=lambda table: table.title == "Accuracy")


def kill_and_resume(command, spawn, process, tmp_path, moments):
    assert process(f"{command('undisturbed')} --workers 0").code == 0
    for moment in moments:
        killed = spawn(f"{command('killed')} --workers 2")
        wait_until(lambda moment=moment: stored(tmp_path / "killed") >= moment, killed)
        killed.kill()  # the runner alone: its workers notice
        killed.wait()
    assert process(f"{command('killed')} --workers 2").code == 0
    assert stored(tmp_path / "killed") == STAGES
    assert summary(tmp_path / "killed") == summary(tmp_path / "undisturbed")


def test_a_killed_run_ends_like_an_undisturbed_one(command, spawn, process, tmp_path):
    kill_and_resume(command, spawn, process, tmp_path, [1, 19])


@pytest.mark.slow
def test_so_does_one_killed_again_and_again(command, spawn, process, tmp_path):
    kill_and_resume(command, spawn, process, tmp_path, [0, 1, 2, 4, 7, 11, 16, 20, 26, 30, 32])


@pytest.fixture
def heard():
    """Let children hear Ctrl-C even where these tests run in the background, which is deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_a_run_stopped_by_ctrl_c_stops_soon_and_leaves_no_litter(command, spawn, tmp_path):
    endless = command("stopped").replace("epochs=2", "epochs=5000")
    run = spawn(f"{endless} --workers 2")
    wait_until(lambda: stored(tmp_path / "stopped") >= 3, run)
    os.killpg(run.pid, signal.SIGINT)  # a terminal tells the whole group
    _out, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert err == "Interrupted. The same command goes on from here.\n"
    assert stored(tmp_path / "stopped") < STAGES
    assert list((tmp_path / "stopped" / "store" / "making").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_polite_end_is_like_ctrl_c(number):
    """As batch systems and closed terminals ask for one."""
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_a_script_hears_itself_stays_its_own():
    """`prunebench.run` may be a part of something larger."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
    with interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert heard == ["mine"]


COUNTED = """
import time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Counted(Scorer):
    name = "counted"
    note: str
    stage: int

    def score(self, images):
        with Path(self.note).open("a") as note:
            note.write(f"{self.stage} ")
        time.sleep(0.2)
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Counted]
"""


def test_two_runs_at_once_make_every_stage_once(install, spawn, suite_file, tmp_path):
    install("counted", COUNTED)
    tables = "".join(
        f"[method.m{n}]\nselector = 'top'\nscorer = {{part='counted', note='{tmp_path}/note', stage={n}}}\n"
        for n in range(6)
    )
    path = suite_file(SUITE, more=tables)
    methods = ",".join(f"m{n}" for n in range(6))
    line = f"run --suite {path} --methods {methods} --ratios 90 --seeds 1 --set recipe.epochs=1 --workers 1"
    both = [spawn(line), spawn(line)]
    told = [run.communicate(timeout=120) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    assert sorted((tmp_path / "note").read_text().split()) == list("012345")
    assert len(results.read(tmp_path / "leaderboard", "toys")[0]) == 6
    assert not (tmp_path / "store" / "quarantine").exists()
