"""An array of Slurm: what its tasks make is seen in the store, and what they leave is handed out again."""

import os
import shutil
from dataclasses import replace

import pytest

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors import drain, slurm
from prunebench.pipeline.executors.engine import Engine, StageError, WorkerDied
from prunebench.pipeline.executors.slurm import Array, Draining, Task
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store

KEY = "ab" * 32
FAILURE = {"message": "not today", "missing": None, "busy": None, "traceback": "", "memory": False}


class Pretended:
    """An array of which a test says whether its tasks have ended."""

    left = False

    def __init__(self, folder, over=False):
        self.folder = folder
        self.over = over
        self.told = 0
        folder.mkdir(parents=True)

    def ended(self, _pause):
        return self.over

    def end(self):
        self.told += 1

    def clear(self):
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def arrays(tmp_path, started, monkeypatch):
    """arrays(True, False) is an executor, and its arrays so far: of the first all tasks have ended."""
    monkeypatch.setattr(slurm, "LOOK", 0.01)
    submitted = []

    def executor(*over):
        left = list(over)

        def submit():
            if not left:
                raise PrunebenchError("Slurm refuses")
            submitted.append(Pretended(tmp_path / "slurm" / str(len(submitted)), left.pop(0)))
            return submitted[-1]

        return started(
            Draining(Engine(name="slurm", store=tmp_path / "store"), 2, submit(), submit)
        ), submitted

    return executor


@pytest.fixture
def job(tmp_path):
    return Job("scores", KEY, "aum", {}, [], "digits", "", str(tmp_path / "store"), "cpu", "root")


def test_what_tasks_made_is_seen_in_the_store(arrays, job, monkeypatch):
    executor, submitted = arrays(False)
    future = executor.submit(job)
    assert not future.done()
    monkeypatch.setattr(Store, "__contains__", lambda _store, key: key == KEY)
    assert future.result(10) is None
    executor.shutdown()
    assert submitted[0].told == 1 and not submitted[0].folder.exists()


def test_what_failed_in_a_task_fails(arrays, job, store):
    executor, _ = arrays(False)
    future = executor.submit(job)
    store.fail(KEY, FAILURE)
    error = future.exception(10)
    assert isinstance(error, StageError) and str(error) == "not today"


def test_what_all_tasks_left_unmade_is_handed_out_again(arrays, job, store):
    executor, submitted = arrays(True, False)
    future = executor.submit(job)
    while len(submitted) < 2:
        assert not future.done()
    store.fail(KEY, FAILURE)
    assert str(future.exception(10)) == "not today"
    executor.shutdown()
    assert [one.folder.exists() for one in submitted] == [True, False]  # the logs of lost tasks stay


@pytest.mark.parametrize(
    ("over", "why"),
    [((True, True), "all tasks of Slurm ended without it; see {}"), ((True,), "Slurm refuses")],
)
def test_what_is_lost_is_named_with_its_logs(arrays, job, store, over, why):
    executor, submitted = arrays(*over)
    error = executor.submit(job).exception(10)
    assert isinstance(error, WorkerDied)
    assert str(error) == f"--executor slurm lost scores aum: {why.format(submitted[-1].folder)}"
    assert store.failure(KEY)["message"] == str(error)
    executor.shutdown()
    assert submitted[-1].folder.exists()


@pytest.fixture
def pretended_slurm(tmp_path, monkeypatch):
    """pretended_slurm(text) makes squeue print a text. `asked` is how scancel was called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    for name in ("squeue", "scancel"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/asked\ncat {tmp_path}/text\n")
        (programs / name).chmod(0o755)
    return lambda text: (tmp_path / "text").write_text(text)


@pytest.fixture
def submitted(store):
    """submitted("12", *jobs) is an array of two tasks for these jobs."""

    def written(number, *jobs):
        run, folder = store.root / "runs" / number, store.root / "slurm" / number
        folder.mkdir(parents=True)
        for task in (0, 1):
            (folder / f"{number}_{task}_submitted.pkl").touch()
        drain.write(run, jobs)
        return Array(run, folder)

    return written


def test_an_array_has_ended_once_slurm_knows_none_of_its_tasks(pretended_slurm, submitted):
    array = submitted("12")
    assert not array.ended(0)  # without an answer nobody knows
    pretended_slurm("12_1 PENDING\n13 RUNNING\n")
    assert not array.ended(0)
    pretended_slurm("13 RUNNING\n")
    assert not array.ended(60)  # Slurm is not asked again so soon
    assert array.ended(0)
    array.end()
    assert not array.run.exists()


def test_the_end_of_a_run_cancels_its_tasks(pretended_slurm, submitted, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "GRACE", 0.1)
    pretended_slurm("12_0 RUNNING\n")
    submitted("12").end()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "scancel --quiet --state=PENDING 12_0 12_1"
    assert asked[-1] == "scancel --quiet 12_0 12_1"


# Submitted by one command, collected by another


@pytest.fixture
def chosen(store, job, monkeypatch):
    """An engine for one job. A new array has the number 99."""
    new = Array(store.root / "runs" / "99", store.root / "slurm" / "99")
    monkeypatch.setattr(slurm, "_submitted", lambda _engine, _count: new)
    monkeypatch.setattr(Engine, "package", lambda *_names: None)
    return Engine(name="slurm", store=store.root, jobs=lambda: [job])


def test_an_array_that_makes_all_is_joined(pretended_slurm, submitted, chosen, job, store):
    store.fail(KEY, FAILURE)
    pretended_slurm("12_1 PENDING\n")
    other = replace(job, key="cd" * 32)
    submitted("11", job)  # its tasks are gone
    submitted("12", job, other)
    assert slurm.leave(chosen, 2) == "Slurm job 12"
    assert store.failure(KEY) == FAILURE  # of a task, so it counts
    assert slurm._at_work(replace(chosen, jobs=lambda: [replace(job, key="ef" * 32)]), 2).folder.name == "99"


def test_where_none_is_at_work_an_array_is_submitted(pretended_slurm, submitted, chosen, job, store):
    store.fail(KEY, FAILURE)
    pretended_slurm("")
    submitted("12", job)
    assert slurm._at_work(chosen, 2).folder.name == "99"
    assert store.failure(KEY) is None  # it is tried again


def test_where_slurm_does_not_answer_no_second_array_is_submitted(
    pretended_slurm, submitted, chosen, job, store
):
    store.fail(KEY, FAILURE)
    submitted("12", job)
    with pytest.raises(PrunebenchError, match="squeue does not say whether Slurm job 12 still makes"):
        slurm._at_work(chosen, 2)
    assert store.failure(KEY) == FAILURE


def test_a_user_without_a_name_has_tasks(pretended_slurm, tmp_path, monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    pretended_slurm("12_0 RUNNING\n")
    assert slurm.queue() == {"12_0": "RUNNING"}
    assert "--user=54321" in (tmp_path / "asked").read_text()


def test_files_go_once_all_is_made(pretended_slurm, submitted, job, store, monkeypatch):
    pretended_slurm("")
    made, left = submitted("12", replace(job, key="cd" * 32)), submitted("13", job)
    monkeypatch.setattr(Store, "__contains__", lambda _store, key: key == "cd" * 32)
    slurm.tidy(store)
    assert [array.folder.exists() for array in (made, left)] == [False, True]
    assert [array.run.exists() for array in (made, left)] == [False, True]


def test_a_command_that_joined_an_array_leaves_it(pretended_slurm, submitted, chosen, job):
    pretended_slurm("12_0 RUNNING\n")
    array = submitted("12", job)
    slurm.slurm(chosen, 2, print).shutdown()
    assert array.run.exists() and array.folder.exists()


def test_the_status_counts_tasks(pretended_slurm, submitted, job, store):
    assert slurm.standing(store.root) == []
    submitted("11", job)
    submitted("12", job)
    assert slurm.standing(store.root) == []  # Slurm does not answer
    pretended_slurm("12_0 RUNNING\n12_1 PENDING\n13 RUNNING\n")
    assert slurm.standing(store.root) == ["Slurm job 12: tasks running 1, waiting 1"]


def test_the_command_status_shows_tasks(pretended_slurm, submitted, job, toy, suite_file, cli):
    submitted("12", job)
    pretended_slurm("12_0 RUNNING\n12_1 RUNNING\n")
    told = cli(f"status --suite {suite_file()} --device cpu")
    assert "\nSlurm job 12: tasks running 2, waiting 0\n" in told.out


def test_a_task_that_is_queued_again_does_the_same(tmp_path):
    pytest.importorskip("submitit")
    task = Task(tmp_path / "run", 5.0)
    again = task.checkpoint(0.5)
    assert (again.function, again.args) == (task, (0.5,))


def test_an_option_that_submitit_does_not_know_is_named(tmp_path):
    pytest.importorskip("submitit")
    engine = Engine(name="slurm", options={"cluster": "local", "slurm_speed": "9"}, store=tmp_path / "store")
    with pytest.raises(PrunebenchError, match=r"--executor slurm: .*slurm_speed"):
        slurm.slurm(engine, 1, print)
    assert [*tmp_path.rglob("runs/*")] == [*tmp_path.rglob("slurm/local/*")] == []


def test_a_core_comes_with_a_gpu_and_numbers_are_numbers():
    parameters = slurm._parameters("cuda", {"timeout_min": "30", "slurm_partition": "gpu"})
    assert (parameters["gpus_per_node"], parameters["cpus_per_task"]) == (1, 2)
    assert (parameters["timeout_min"], parameters["slurm_partition"]) == (30, "gpu")
    assert slurm._parameters("cpu", {})["cpus_per_task"] == 1


def test_failures_are_forgotten_where_stages_are_tried_again(store):
    store.fail(KEY, FAILURE)
    store.fail("cd" * 32, FAILURE)
    store.forget_failures({KEY})
    assert (store.failure(KEY), store.failure("cd" * 32)) == (None, FAILURE)
