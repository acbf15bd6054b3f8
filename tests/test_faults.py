"""Killed, interrupted, run twice at once: the same command ends with the same results all the same."""

import os
import re
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

    def score(self, images, progress):
        with Path(self.note).open("a") as note:
            note.write(f"{self.stage} ")
        while self.stage == 0 and Path(self.note).with_name("hold").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Counted]
"""


@pytest.fixture
def counted(install, suite_file, tmp_path):
    """A run of six cells with a scorer each that notes when it begins; the first waits for `hold` to go."""
    install("counted", COUNTED)
    tables = "".join(
        f"[method.m{n}]\nselector = 'top'\nscorer = {{part='counted', note='{tmp_path}/note', stage={n}}}\n"
        for n in range(6)
    )
    path = suite_file(SUITE, more=tables)
    methods = ",".join(f"m{n}" for n in range(6))
    return f"run --suite {path} --methods {methods} --ratios 90 --seeds 1 --set recipe.epochs=1 --workers 1"


def begun(tmp_path):
    """Which scores somebody began to make, in order."""
    note = tmp_path / "note"
    return note.read_text().split() if note.exists() else []


def all_is_well(tmp_path):
    assert len(results.read(tmp_path / "leaderboard", "toys")[0]) == 6
    assert not (tmp_path / "store" / "quarantine").exists()
    assert list((tmp_path / "store" / "leases").iterdir()) == []
    assert list((tmp_path / "store" / "making").iterdir()) == []


def test_two_runs_at_once_make_every_stage_once(counted, spawn, tmp_path):
    both = [spawn(counted), spawn(counted)]
    told = [run.communicate(timeout=120) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    assert sorted(begun(tmp_path)) == list("012345")
    all_is_well(tmp_path)


def test_a_stage_of_a_killed_runner_is_taken_over_at_once(counted, spawn, tmp_path):
    """However long its lease would be."""
    (tmp_path / "hold").touch()
    killed = spawn(counted, PRUNEBENCH_LEASE="100000")
    wait_until(lambda: begun(tmp_path) == ["0"], killed)
    os.killpg(killed.pid, signal.SIGKILL)
    (tmp_path / "hold").unlink()
    out, err = (run := spawn(counted)).communicate(timeout=120)
    assert run.returncode == 0, (out, err)
    assert begun(tmp_path) == list("0012345")
    assert "waiting" not in err
    all_is_well(tmp_path)


def test_a_stopped_runner_is_waited_for_last_told_of_and_taken_over(counted, spawn, tmp_path):
    """It wakes up when all is made, drops what it made, and ends well too."""
    (tmp_path / "hold").touch()
    stopped = spawn(counted, PRUNEBENCH_LEASE="6")
    wait_until(lambda: begun(tmp_path) == ["0"], stopped)
    os.killpg(stopped.pid, signal.SIGSTOP)
    (tmp_path / "hold").unlink()
    out, err = (run := spawn(counted)).communicate(timeout=120)
    assert run.returncode == 0, (out, err)
    assert begun(tmp_path) == list("0123450")
    (line,) = (line for line in err.splitlines() if "waiting" in line)
    assert re.fullmatch(
        r"waiting for process \d+ on .+: scores counted\(.*\), begun .+ UTC; "
        "after 6 s without a sign of life it counts as gone",
        line,
    )
    os.killpg(stopped.pid, signal.SIGCONT)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 0, (out, err)
    assert begun(tmp_path) == list("0123450")
    all_is_well(tmp_path)
