"""Several runners on one store: each stage is made once, and nobody waits for who is gone."""

import os
import re
import signal
import time
from collections import Counter

import pytest

from prunebench.results.rows import read
from prunebench.system.signals import interruptible

SUITE = """
title = "Digits"
datasets = ["digits"]
methods = ["random"]
ratios = [90]
seeds = 1
recipe = "tiny"
"""


def wait_until(holds, process, seconds=60):
    """Wait until something holds, or the process has ended."""
    end = time.monotonic() + seconds
    while not holds() and process.poll() is None:
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def test_a_signal_that_a_script_hears_itself_stays_its_own():
    """`prunebench.run` may be a part of something larger."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
    with interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert heard == ["mine"]


COUNTED = """
import os
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
        note = Path(self.note)
        with note.open("a") as file:
            file.write(f"{self.stage} {os.getppid()}\\n")
        while self.stage == 0 and note.with_name("hold").exists():
            time.sleep(0.05)
        while note.with_name("both").exists() and len({line.split()[1] for line in note.open()}) < 2:
            time.sleep(0.05)
        time.sleep(0.4)
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Counted]
"""


@pytest.fixture
def counted(install, suite_file, tmp_path):
    """A run of six cells with a scorer each, which notes that it begins, and the runner.

    The first waits for `hold` to go. If there is `both`, each waits until two runners have begun one.
    """
    install("counted", COUNTED)
    tables = "".join(
        f"[method.m{n}]\nselector = 'top'\nscorer = {{part='counted', note='{tmp_path}/note', stage={n}}}\n"
        for n in range(6)
    )
    path = suite_file(SUITE, more=tables)
    methods = ",".join(f"m{n}" for n in range(6))
    return f"run --suite {path} --methods {methods} --ratios 90 --seeds 1 --set recipe.epochs=1 --workers 1"


def noted(tmp_path):
    """Which scores somebody began to make, in order, each with its runner."""
    note = tmp_path / "note"
    return [line.split() for line in note.read_text().splitlines()] if note.exists() else []


def begun(tmp_path):
    """Which scores somebody began to make, in order."""
    return [stage for stage, _ in noted(tmp_path)]


def all_is_well(tmp_path):
    assert len(read(tmp_path / "leaderboard", "toys")[0]) == 6
    assert not (tmp_path / "store" / "quarantine").exists()
    assert list((tmp_path / "store" / "leases").iterdir()) == []
    assert list((tmp_path / "store" / "making").iterdir()) == []


def test_two_runs_at_once_make_every_stage_once_and_a_share_each(counted, spawn, tmp_path):
    (tmp_path / "both").touch()
    both = [spawn(counted), spawn(counted)]
    told = [run.communicate(timeout=120) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    assert sorted(begun(tmp_path)) == list("012345")
    shares = Counter(int(runner) for _, runner in noted(tmp_path))
    assert shares.keys() == {run.pid for run in both} and min(shares.values()) >= 2
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
        r"waiting for process \d+ on .+: scores counted\(.*, begun .+ UTC; "
        "after 6 s without a sign of life it counts as gone",
        line,
    )
    os.killpg(stopped.pid, signal.SIGCONT)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 0, (out, err)
    assert begun(tmp_path) == list("0123450")
    all_is_well(tmp_path)
