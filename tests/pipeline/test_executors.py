"""Worker processes: a job done, a plugin that prints, fails or kills, and what becomes of the workers."""

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, replace

import pytest
import torch

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts import registry
from prunebench.parts.artefacts import Scores
from prunebench.parts.identity import identity
from prunebench.pipeline.executors import local, worker_process
from prunebench.pipeline.executors.engine import Engine, StageError, WorkerDied
from prunebench.pipeline.executors.factory import EXECUTORS, executor
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.executors.local import LocalExecutor, _Room
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.job import Job
from prunebench.pipeline.jobs import device_lost, failure
from prunebench.runs.run import run_matrix
from prunebench.system.isolation import python

FAILS = "ValueError: not today (odd.py:23)"
ODD = """
import os, signal, subprocess, sys, time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import PrunebenchError, Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Odd(Scorer):
    name = "odd"
    does: str
    note: str

    def score(self, images, progress):
        print("a plugin may print", flush=True)
        note = Path(self.note)
        attempts = len(note.read_text()) if note.exists() else 0
        note.write_text("x" * (attempts + 1))
        if self.does == "dies" or self.does == "dies once" and attempts == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.does == "fails":
            raise ValueError("not today")
        if self.does == "refuses":
            raise PrunebenchError("use another scorer")
        if self.does == "sleeps":
            time.sleep(60)
        if self.does == "exits":
            os._exit(7)
        if self.does == "leaves":
            sys.exit("I leave")
        if self.does == "needs memory" or self.does == "needs memory once" and attempts == 0:
            raise MemoryError("too much")
        if self.does == "is warned":
            for number in (signal.SIGTERM, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            begun, begin = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(begin, b"x")
                time.sleep(60)
            os.read(begun, 1)
            os.kill(child, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        if self.does == "reads":
            assert sys.stdin.read() == "" and os.read(0, 1) == b""
        if self.does == "writes":
            os.write(1, b"{}")
            subprocess.run(["echo", "{}"], check=True)
        if self.does == "forks" and os.fork() == 0:
            for number in range(3, 30):
                with suppress(OSError):
                    os.write(number, b"from the child")
        if self.does == "closes":
            os.closerange(0, 100)
        if self.does == "garbles":
            for number in range(3, 30):
                with suppress(OSError):
                    os.write(number, b"{'done'}\\n")
        if self.does == "lies":
            for number in range(3, 30):
                with suppress(OSError):
                    os.write(number, b'{"done": true}\\n')
            time.sleep(60)
        progress(1, 2)
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Odd]
"""


@pytest.fixture
def job(install, tmp_path, store):
    """job(does) is the scoring of the digits by a scorer that does this; it notes each attempt at `.note`."""
    install("odd", ODD)

    def made(does):
        part = registry.load().part("scorer", {"part": "odd", "does": does, "note": str(tmp_path / does)})
        what = {"part": identity(part)}
        title, place = f"odd {does}", str(store.root)
        return Job("scores", f"{does:*^64}", title, what, {}, "digits", "", place, "cpu", "root")

    return made


@pytest.fixture
def workers():
    """workers(2) is an executor with so many processes."""
    started = []

    def start(count, on_progress=lambda *_progress: None):
        started.append(LocalExecutor(count, on_progress))
        return started[-1]

    yield start
    for one in started:
        one.shutdown()


def test_workers_make_jobs_and_survive_what_plugins_do(job, workers, store, tmp_path):
    """One pair of workers for all of it, since a worker takes seconds to start."""
    reports = []
    pair = workers(2, lambda *progress: reports.append(progress))
    futures = {does: pair.submit(job(does)) for does in ("works", "fails", "refuses", "dies", "dies once")}
    outcome = {does: future.exception(timeout=120) for does, future in futures.items()}

    assert [does for does, error in outcome.items() if error is None] == ["works", "dies once"]
    assert store.read(job("works").key, Scores).values[:3].tolist() == [0, 1, 2]
    works = [report for key, *report in reports if key == job("works").key]
    assert works == [[0, 0, 0], [1, 2, 0]]  # it begins, and counts no images

    assert isinstance(outcome["fails"], StageError)
    assert str(outcome["fails"]) == FAILS
    assert 'raise ValueError("not today")' in outcome["fails"].trace
    assert str(outcome["refuses"]) == "use another scorer"
    assert store.failure(job("fails").key)["message"] == FAILS

    assert isinstance(outcome["dies"], WorkerDied)
    assert str(outcome["dies"]) == (
        "a worker process ended with code -9 (SIGKILL) while making odd dies (scorer 'odd' of odd), twice, "
        "the second time alone; it may need more memory than there is, so try a smaller batch"
    )
    assert store.failure(job("dies").key)["message"] == str(outcome["dies"])
    attempts = {does: len((tmp_path / does).read_text()) for does in ("works", "fails", "dies once", "dies")}
    assert attempts == {"works": 1, "fails": 1, "dies once": 2, "dies": 2}


def test_a_worker_goes_on_when_a_batch_system_warns_it(job, workers, store, tmp_path):
    """Processes that a part forks do not: a part ends them so."""
    warned = job("is warned")
    workers(1).submit(warned).result(timeout=60)
    assert warned.key in store and (tmp_path / "is warned").read_text() == "x"


def test_what_a_part_does_to_its_process_is_named_and_harms_no_other(job, workers, store, tmp_path):
    one = workers(1)
    odd = ("reads", "writes", "forks", "leaves", "closes", "garbles", "lies", "exits", "works")
    futures = {does: one.submit(job(does)) for does in odd}
    outcome = {does: str(future.exception(timeout=120) or "made") for does, future in futures.items()}
    assert outcome == {
        **dict.fromkeys(("reads", "writes", "forks", "works"), "made"),
        "leaves": "scorer 'odd' of odd raised SystemExit: I leave",
        "garbles": "scorer 'odd' of odd wrote into the channel on which its worker answers",
        "lies": "scorer 'odd' of odd wrote into the channel on which its worker answers",
        "closes": "a worker process ended with code 1 while making odd closes (scorer 'odd' of odd), twice",
        "exits": "a worker process ended with code 7 while making odd exits (scorer 'odd' of odd), twice",
    }
    for does, message in outcome.items():
        assert message == "made" or store.failure(job(does).key)["message"] == message


def test_a_stage_that_never_ends_is_stopped_and_named(job, store):
    limited = LocalExecutor(1, lambda *_progress: None, stage_timeout=4)
    stopped, next_one = limited.submit(job("sleeps")), limited.submit(job("works"))
    message = (
        "scorer 'odd' of odd ran for more than 4 s and was stopped; raise --stage-timeout, or leave its "
        "methods out"
    )
    assert str(stopped.exception(timeout=60)) == message
    assert store.failure(job("sleeps").key)["message"] == message
    assert next_one.exception(timeout=60) is None
    limited.shutdown()


def test_what_lacked_memory_is_tried_again_alone_in_a_new_process(job, workers, store):
    pair = workers(2)
    futures = {does: pair.submit(job(does)) for does in ("needs memory", "needs memory once", "works")}
    outcome = {does: str(future.exception(timeout=120) or "made") for does, future in futures.items()}
    message = (
        "MemoryError: too much (odd.py:33), twice, the second time alone; "
        "it may need more memory than there is, so try a smaller batch"
    )
    assert outcome == {"needs memory": message, "needs memory once": "made", "works": "made"}
    assert store.failure(job("needs memory").key)["message"] == message
    assert store.failure(job("needs memory once").key) is None


@pytest.mark.parametrize(
    ("error", "lacked"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (PrunebenchError("out of memory on cuda, even with 2 of the 16 images"), False),
    ],
)
def test_which_errors_are_lack_of_memory(error, lacked):
    assert failure(error)["memory"] is lacked


def test_lack_of_memory_on_a_gpu_is_told_without_what_each_process_holds():
    """As torch 2.11 says it."""
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
        "1.00 GiB is free. Process 7 has 78.11 GiB memory in use. Of the allocated memory 77.00 GiB is "
        "allocated by PyTorch, and 512.00 MiB is reserved by PyTorch but unallocated."
    )
    assert failure(error)["message"] == (
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB; free the GPU, lower the part's "
        "batch, or use --device cpu"
    )


def test_a_worker_that_lost_its_gpu_is_replaced(job, workers, monkeypatch):
    lost = lambda failure: StageError(failure["message"], device_lost=True)  # noqa: E731
    monkeypatch.setattr(local, "as_error", lost)
    single = workers(1)
    assert single.submit(job("works")).exception(timeout=60) is None
    before = single._processes[0].pid
    assert str(single.submit(job("fails")).exception(timeout=60)) == FAILS
    assert single.submit(job("reads")).exception(timeout=60) is None
    assert single._processes[0].pid != before


def test_a_worker_that_failed_beside_others_on_gpus_is_replaced(job, workers, monkeypatch):
    """It is still joined to them, even if its GPU works. Here it fails as it has none."""
    monkeypatch.setattr(local, "as_error", lambda failure: StageError(failure["message"]))
    single = workers(1)
    assert single.submit(job("works")).exception(timeout=60) is None
    before = single._processes[0].pid
    together = replace(job("reads"), device="cuda", processes=2)
    assert isinstance(single.submit(together).exception(timeout=60), StageError)
    assert single.submit(job("reads")).exception(timeout=60) is None
    assert single._processes[0].pid != before


def test_what_needs_no_gpu_runs_beside_what_does(job, monkeypatch):
    """The job on the GPU ends once the other one has."""
    finished, ran = threading.Event(), []

    def ask(executor, number, job):
        ran.append((number, job.device))
        if job.device == "cpu":
            finished.set()
        assert finished.wait(timeout=60)

    monkeypatch.setattr(LocalExecutor, "_ask", ask)
    pair = LocalExecutor(1, lambda *_progress: None, cpu_workers=1)
    on_gpu, on_cpu = replace(job("works"), device="cuda"), job("works")
    futures = [pair.submit(on_gpu), pair.submit(on_cpu)]
    assert [future.exception(timeout=60) for future in futures] == [None, None]
    assert sorted(ran) == [(0, "cuda"), (1, "cpu")]
    pair.shutdown()


@pytest.mark.parametrize(
    ("device", "cores", "workers", "count"),
    [("cpu", 8, 8, 0), ("cuda", 1, 1, 1), ("cuda", 3, 1, 2), ("cuda", 64, 8, 56), ("cuda", 8, 8, 1)],
)
def test_a_run_on_gpus_has_workers_on_the_cores_that_they_leave(monkeypatch, device, cores, workers, count):
    monkeypatch.setattr(local, "cores", lambda: cores)
    assert local.default_cpu_workers(device, workers) == count


@pytest.mark.parametrize(
    ("options", "device", "count"),
    [
        ({}, "cpu", 12),
        ({}, "cuda", 1),
        ({"workers": 3}, "cuda", 3),
        ({"workers_per_gpu": 3}, "cuda", 3),
        ({"workers_per_gpu": "auto"}, "cuda", 8),
    ],
)
def test_how_many_workers_an_engine_may_have(monkeypatch, options, device, count):
    monkeypatch.setattr(local, "cores", lambda: 12)
    assert local.most_workers(Engine(**options), device) == count


@pytest.mark.parametrize(
    ("options", "device", "message"),
    [
        ({"workers_per_gpu": 3}, "cpu", "this run computes on the CPU; use --workers"),
        ({"workers_per_gpu": "auto", "workers": 3}, "cuda", "mean the same on one GPU; leave one out"),
    ],
)
def test_options_of_workers_that_contradict_one_another(options, device, message):
    with pytest.raises(PrunebenchError, match=message):
        local.most_workers(Engine(**options), device)


def test_no_more_workers_than_cores_share_a_gpu(monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 2)
    assert local.most_workers(Engine(workers_per_gpu="auto"), "cuda") == 2


def test_a_gpu_is_lost_once_every_call_fails(monkeypatch):
    def fails():
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert not device_lost("cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert device_lost("cuda") and not device_lost("cpu")


def test_alone_is_alone():
    room, order = _Room(), []

    def alone():
        with room.alone():
            order.append("alone")

    with room.shared():
        waiting = threading.Thread(target=alone)
        waiting.start()
        time.sleep(0.1)
        order.append("matched_to")
    waiting.join()
    with room.shared():
        assert order == ["matched_to", "alone"]


def test_deaths_of_a_worker_that_only_starts_count_against_no_job(job, workers, monkeypatch, tmp_path):
    real, starts = worker_process.start, []

    def start(environment):
        starts.append(real(environment))
        if len(starts) <= 3:
            starts[-1].kill()
        return starts[-1]

    monkeypatch.setattr(worker_process, "start", start)
    assert workers(1).submit(job("works")).exception(timeout=60) is None
    assert len(starts) == 4


def test_workers_that_never_start_are_given_up(job, workers, monkeypatch):
    command = [sys.executable, "-c", "print('nothing here'); raise SystemExit(3)"]
    monkeypatch.setattr(worker_process, "python", lambda _statement: command)
    error = workers(1).submit(job("works")).exception(timeout=60)
    assert str(error) == "a worker process ended with code 3 while starting, 5 times in a row"


def test_shutdown_ends_running_and_waiting_jobs_at_once(job, workers, tmp_path):
    one = workers(1)
    waiting = [one.submit(job(does)) for does in ("sleeps", "works", "works ")]
    wait_for(tmp_path / "sleeps")
    started = time.monotonic()
    one.shutdown()
    assert time.monotonic() - started < 3
    assert not (tmp_path / "works").exists()
    assert isinstance(waiting[0].exception(timeout=1), WorkerDied)


def test_a_worker_ends_when_its_runner_is_gone(job, tmp_path):
    worker = subprocess.Popen(
        python("from prunebench.pipeline.executors.worker import main; main()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with worker:
        worker.stdin.write(json.dumps(asdict(job("sleeps"))) + "\n")
        worker.stdin.flush()
        wait_for(tmp_path / "sleeps")
        worker.send_signal(signal.SIGINT)  # a Ctrl-C is the runner's to answer
        worker.stdin.close()
        assert worker.wait(timeout=5) == 0


def wait_for(path):
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path.name} never began")


# In this process


def test_the_inline_executor_is_done_when_it_returns(job, store):
    future = InlineExecutor(lambda *_progress: None).submit(job("works"))
    assert isinstance(future, Future) and future.done()
    assert store.verify(job("works").key)


def test_the_inline_executor_reports_failures_alike(job):
    inline = InlineExecutor(lambda *_progress: None)
    assert str(inline.submit(job("fails")).exception()) == FAILS
    assert isinstance(inline.submit(job("fails")).exception(), StageError)


def test_a_missing_input_is_told_apart(job, store):
    reader = replace(job("works"), kind="quality", identity={}, inputs=[["labels", None, "0" * 64]])
    error = InlineExecutor(lambda *_progress: None).submit(reader).exception()
    assert isinstance(error, MissingArtefactError) and error.key == "0" * 64
    assert store.failure(reader.key) is None  # nobody's fault


def test_a_job_is_made_on_one_thread(job):
    before = torch.get_num_threads()
    InlineExecutor(lambda *_progress: None).submit(job("works"))
    assert torch.get_num_threads() == before


def test_nothing_stops_a_stage_in_this_process():
    with pytest.raises(PrunebenchError, match="--workers 0 has none; use --workers 1 or more"):
        executor(Engine(workers=0, stage_timeout=1), 0, print)


def test_executors_by_name():
    assert isinstance(executor(Engine(), 0, print), InlineExecutor)
    with pytest.raises(PrunebenchError, match=r"no executor named 'zzz'\. Known: dask, local, ray, slurm"):
        executor(Engine(name="zzz"), 1, print)


class Noting:
    """An executor that nobody else knows: it notes what it is asked for."""

    workers = 1

    def __init__(self, on_progress):
        self.inline, self.order = InlineExecutor(on_progress), []

    def submit(self, job):
        self.order.append(job.kind)
        return self.inline.submit(job)

    def shutdown(self):
        self.order.append("the end")


def test_a_new_executor_is_a_class_and_an_entry_by_name(matrix, monkeypatch):
    made = []

    def factory(engine, workers, on_progress):
        made.append(Noting(on_progress))
        return made[0]

    monkeypatch.setitem(EXECUTORS, "noting", factory)
    found = matrix("random")
    assert run_matrix(found, forecast_from_store(found), None, Engine(name="noting")) == {}
    assert made[0].order == ["subset", "accuracy", "the end"]
    with pytest.raises(PrunebenchError, match=r"no executor named 'notin'\. Did you mean 'noting'\?"):
        executor(Engine(name="notin"), 1, print)


def test_workers_are_one_a_core_or_one_for_a_gpu(monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 3)
    assert local.default_workers("cpu") == 3
    assert local.default_workers("cuda") == 1
