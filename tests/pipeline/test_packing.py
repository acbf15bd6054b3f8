"""Several workers on one GPU: how many fit, and what becomes of a stage that runs out of memory."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prunebench.parts import registry
from prunebench.parts.identity import identity
from prunebench.pipeline.executors import worker_process
from prunebench.pipeline.executors.engine import Engine, StageError, WorkerDied
from prunebench.pipeline.executors.factory import executor
from prunebench.pipeline.executors.local import LocalExecutor
from prunebench.pipeline.executors.packing import Packing
from prunebench.pipeline.job import Job
from prunebench.system.isolation import python

GIB = 2**30
ROOT = Path(__file__).parents[2]
BETWEEN = 2 * GIB  # what a worker on the pretended cards below holds between stages


def after(packing, peak, total=80 * GIB, free=None):
    """Return how many workers are open after a stage of this peak, in GiB. By default the rest is free."""
    free = total - BETWEEN if free is None else free
    packing.learn(peak=peak * GIB, free=free, total=total)
    return packing.workers


# How many fit


def test_workers_are_added_one_by_one_as_long_as_another_fits():
    """Each takes 2 GiB between stages and 10 in the largest: six of 12 fit into 80."""
    packing = Packing(8)
    assert packing.workers == 1
    assert [after(packing, peak) for peak in (10, 3, 10, 10, 10, 10, 10)] == [2, 3, 4, 5, 6, 6, 6]


def test_no_worker_is_added_where_what_is_free_does_not_hold_it():
    packing = Packing(8)
    assert after(packing, 10) == 2
    assert after(packing, 10, free=12 * GIB - 1) == 2
    assert after(packing, 10, free=12 * GIB) == 3


def test_a_larger_stage_closes_workers():
    packing = Packing(8)
    assert [after(packing, 1) for _ in range(7)] == [2, 3, 4, 5, 6, 7, 8]
    assert after(packing, 30) == 2
    assert after(packing, 1) == 2


def test_one_worker_is_always_open():
    packing = Packing(8)
    assert after(packing, 60) == 1
    packing.wait(0)


def test_there_are_no_more_workers_than_asked_for():
    packing = Packing(3)
    assert [after(packing, 1) for _ in range(4)] == [2, 3, 3, 3]


# Workers that share a GPU


def job(title, device="cuda"):
    return Job("scores", title, title, {}, [], "digits", "", "", device, "root")


class Card:
    """Stands in for workers: a stage takes 10 GiB, and ends once as many run as are open.

    inside: how many ran when each stage began, itself included, and how many were open.
    """

    def __init__(self, stages, total):
        self.inside, self.running, self.left, self.total = [], 0, stages, total
        self.changed = threading.Condition()

    def ask(self, executor, number, job):
        packing = executor._packings[0]
        with self.changed:
            self.running += 1
            self.inside.append((self.running, packing.workers))
            self.changed.notify_all()
            self.changed.wait(timeout=0.1)  # time for a worker that is not open to begin
            assert self.changed.wait_for(lambda: self.running >= min(packing.workers, self.left), timeout=60)
            self.running -= 1
            self.left -= 1
            packing.learn(peak=10 * GIB, free=self.total - BETWEEN, total=self.total)
            self.changed.notify_all()


def test_as_many_stages_run_at_once_as_fit(monkeypatch, started):
    card = Card(10, total=40 * GIB)
    monkeypatch.setattr(LocalExecutor, "_ask", lambda *given: card.ask(*given))
    packed = started(LocalExecutor(8, lambda *_progress: None, cpu_workers=1, packed=True))
    futures = [packed.submit(job(f"stage {i}")) for i in range(10)]
    assert [future.exception(timeout=60) for future in futures] == [None] * 10
    assert all(running <= workers for running, workers in card.inside)
    assert card.inside[0] == (1, 1) and max(card.inside) == (3, 3)  # of 12 GiB each


def test_the_engine_packs_if_it_is_asked_to(started):
    packed = started(executor(Engine(workers_per_gpu="auto", cpu_workers=1), 3, print))
    fixed = started(executor(Engine(workers_per_gpu=3, cpu_workers=1), 3, print))
    assert [packing.most for packing in packed._packings] == [3]
    assert fixed._packings == []
    assert len(packed._threads) == len(fixed._threads) == 4


def test_workers_without_room_end_with_the_others():
    packed = LocalExecutor(4, lambda *_progress: None, packed=True)
    packed.shutdown()
    assert not any(thread.is_alive() for thread in packed._threads)


def test_a_stage_without_memory_beside_others_is_tried_again_alone(monkeypatch, started):
    """Alone it may adapt itself to the memory there is. The other workers, at rest, hold nothing any more."""
    both, tries = threading.Barrier(2), []

    def ask(executor, number, job):
        tries.append((job.title, job.shares_gpu))
        if job.shares_gpu:
            both.wait(timeout=60)
            executor._processes[number] = subprocess.Popen(
                [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
            )
            both.wait(timeout=60)
            if job.title == "large":
                raise StageError("out of memory", memory=True)
        else:
            others = [process for other, process in executor._processes.items() if other != number]
            assert [process.poll() is None for process in others] == [False]

    monkeypatch.setattr(LocalExecutor, "_ask", ask)
    pair = started(LocalExecutor(2, lambda *_progress: None))
    futures = [pair.submit(job(title)) for title in ("large", "small")]
    assert [future.exception(timeout=60) for future in futures] == [None, None]
    assert sorted(tries) == [("large", False), ("large", True), ("small", True)]


def test_a_stage_whose_worker_died_still_shares_the_gpu(monkeypatch, started):
    tries = []

    def ask(_executor, _number, job):
        tries.append(job.shares_gpu)
        if len(tries) == 1:
            raise WorkerDied("a worker process ended with code 7")

    monkeypatch.setattr(LocalExecutor, "_ask", ask)
    pair = started(LocalExecutor(2, lambda *_progress: None))
    assert pair.submit(job("one")).exception(timeout=60) is None
    assert tries == [True, True]


@pytest.mark.parametrize(("workers", "device"), [(1, "cuda"), (2, "cpu")])
def test_the_only_stage_on_a_gpu_shares_it_with_nobody(monkeypatch, started, workers, device):
    tries = []
    monkeypatch.setattr(LocalExecutor, "_ask", lambda _executor, _number, job: tries.append(job.shares_gpu))
    several = started(LocalExecutor(workers, lambda *_progress: None, cpu_workers=1))
    assert several.submit(job("one", device)).exception(timeout=60) is None
    assert tries == [False]


# On the pretended device

HUNGRY = """
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Hungry(Scorer):
    name = "hungry"
    note: str

    def score(self, images):
        import torch
        from prunebench.nn.training import _shared
        with Path(self.note).open("a") as note:
            note.write(f"{_shared.get()} ")
        if "large" in self.note and _shared.get():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Hungry]
"""


def test_workers_measure_their_gpu(install, tmp_path, store, monkeypatch, started):
    """Of 80 GiB each stage takes a byte, so another worker is added. The large stage fits only alone."""
    install("hungry", HUNGRY)
    pretend = f"sys.path.insert(0, {str(ROOT)!r}); from tests.pretend_gpu import install; install(); "
    monkeypatch.setattr(worker_process, "python", lambda statement: python(pretend + statement))
    packed = started(LocalExecutor(2, lambda *_progress: None, packed=True))
    (packing,) = packed._packings
    titles = ("small", "large", "small again")
    futures = []
    for title in titles:
        part = registry.load().part("scorer", {"part": "hungry", "note": str(tmp_path / title)})
        what = {"part": identity(part)}
        place = str(store.root)
        futures.append(
            packed.submit(
                Job("scores", f"{title:*^64}", title, what, {}, "digits", "", place, "cuda", "root")
            )
        )
    assert [future.exception(timeout=200) for future in futures] == [None] * 3
    assert packing.workers == 2
    assert (packing._between, packing._largest) == (0, 1)
    assert [(tmp_path / title).read_text() for title in titles] == ["True ", "True False ", "True "]
    assert store.manifest(f"{'large':*^64}")["device_name"] == "a pretended GPU"
