"""The program for a GPU: all of it on a pretended one, and how it ends, resumes and refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import program
from benchmarks.gpu.rows import METHODS, SUITE
from benchmarks.gpu.session import Findings, Session
from prunebench import PrunebenchError
from prunebench.suites import schema

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def session(tmp_path):
    return Session(out=tmp_path, data=tmp_path, rehearse=True, deadline=time.monotonic() + 60)


def program_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]


# All of it


@pytest.mark.timeout(600)  # seconds on an idle machine: fifty
def test_it_runs_whole_on_a_pretended_gpu_and_no_phase_twice(tmp_path, hermetic) -> None:
    options = ("--rehearse", "--minutes", "30", "--out", str(tmp_path / "found"))
    whole = program_run(*options)
    assert whole.returncode == 0, whole.stderr
    found = lines(tmp_path / "found")
    assert [line["phase"] for line in found if "begun" in line] == [*program.SHARES]
    assert [line["phase"] for line in found if line.get("ended") == "complete"] == [*program.SHARES]
    assert [line for line in found if line.get("failed")] == []
    assert {line["exit"] for line in found if "exit" in line} == {0}
    assert [line["graph"] for line in found if line.get("steps") == "recorded"] == [True] * (2 + 3)
    number = Counter(line["phase"] for line in found if "finding" in line)
    assert number == {
        "tests": 1,  # command
        "steps": 3 + 3 * 6,  # products; precisions x loops
        "graph": 2 * 3,  # seeds x trainings
        "labelers": 3 * 2,  # trainings x launched and recorded
        "packing": 2,  # numbers of trainings
        "ahead": 3,  # places of images
        "parts": 1,  # command
        "rows": 1,  # method
    }
    again = program_run(*options)
    assert again.returncode == 0 and lines(tmp_path / "found") == found


def test_without_a_gpu_it_says_so_in_one_line(tmp_path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused = program_run("--out", str(tmp_path / "found"))
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith("Error: this machine has no GPU that torch")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "found").exists()


# How a phase ends


def test_a_phase_is_complete_once_it_has_nothing_more_to_find(session) -> None:
    program.collect("steps", iter([{"ms": 1.23456}, {"ms": 2.0}]), session)
    found = lines(session.out)
    assert found[:2] == [{"phase": "steps", "ms": 1.235}, {"phase": "steps", "ms": 2.0}]
    assert found[2]["ended"] == "complete"
    assert Findings(session.out).complete() == {"steps"}


def test_a_phase_is_cut_off_at_its_deadline_and_keeps_what_it_found(session) -> None:
    late = replace(session, deadline=time.monotonic())
    program.collect("steps", iter([{"ms": 1.0}, {"ms": 2.0}]), late)
    assert [line.get("ms") for line in lines(session.out)] == [1.0, None]
    assert lines(session.out)[1]["ended"] == "cut off"
    assert Findings(session.out).complete() == set()


def test_a_phase_that_fails_says_why(session) -> None:
    def failing():
        yield {"ms": 1.0}
        raise PrunebenchError("cifar10_jpeg is not on this machine")

    program.collect("graph", failing(), session)
    assert lines(session.out)[1]["ended"] == "failed"
    assert lines(session.out)[1]["reason"] == "PrunebenchError: cifar10_jpeg is not on this machine"


def test_a_line_that_a_killed_process_left_torn_spoils_no_other(session) -> None:
    findings = Findings(session.out)
    findings.add("steps", ended="complete")
    with findings.path.open("a") as file:
        file.write('{"phase": "gra')
    findings.add("ahead", ended="complete")
    assert findings.complete() == {"steps", "ahead"}


def test_a_command_is_stopped_at_the_deadline(session) -> None:
    soon = replace(session, deadline=time.monotonic() + 0.2)
    with (session.out / "said.txt").open("w") as output:
        code = soon.run([sys.executable, "-c", "import time; time.sleep(60)"], output, signal.SIGTERM)
    assert code == -signal.SIGTERM


# What it refuses


def test_findings_of_another_gpu_stay_apart(tmp_path) -> None:
    program.opened(tmp_path, "NVIDIA H100").add("steps", begun="now", device="NVIDIA H100")
    program.opened(tmp_path, "NVIDIA H100")
    with pytest.raises(
        PrunebenchError, match=r"has findings of NVIDIA H100, but this machine has NVIDIA H200"
    ):
        program.opened(tmp_path, "NVIDIA H200")


def test_phases_run_in_their_order_whatever_is_asked_for() -> None:
    assert program.chosen("rows,tests") == ["tests", "rows"]
    with pytest.raises(PrunebenchError, match=r"no phase named 'step'\. Did you mean 'steps'\?"):
        program.chosen("step")


def test_rows_are_of_all_methods_of_the_suite() -> None:
    file = schema.read(SUITE).file
    assert sorted(METHODS) == sorted([*file.methods, *file.references])
