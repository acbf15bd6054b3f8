"""Several GPUs: each worker sees one, none has more workers than asked for, and results are those of one."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.identity import identity
from prunebench.pipeline.executors import gpus, local, worker_process
from prunebench.pipeline.executors.engine import Engine, StageError
from prunebench.pipeline.executors.factory import executor
from prunebench.pipeline.executors.local import LocalExecutor, most_workers
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store
from prunebench.runs import places
from prunebench.system.isolation import python

ROOT = Path(__file__).parents[2]


@pytest.fixture
def two(monkeypatch):
    """This machine has the GPUs 4 and 7 for us."""
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(places, "DRIVER_FILES", (__file__,))


# Which


@pytest.mark.parametrize(
    ("name", "device", "chosen"),
    [
        ("cuda", "cuda", ("4", "7")),
        ("auto", "cuda", ("4", "7")),
        ("cuda:1", "cuda", ("7",)),
        ("cuda:1,cuda:0", "cuda", ("7", "4")),
        ("cpu", "cpu", ()),
    ],
)
def test_gpus_are_chosen_among_those_that_are_visible(two, name, device, chosen):
    assert places.pick_devices(name) == (device, chosen)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:0,cuda:0"])
def test_gpus_that_are_not_there_are_named(two, name):
    with pytest.raises(PrunebenchError, match="this machine has cuda:0, cuda:1; name each at most once"):
        places.pick_devices(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:0,cpu"])
def test_what_is_no_gpu_is_named(two, name):
    with pytest.raises(PrunebenchError, match=f"device is '{name}', expected cpu, cuda"):
        places.pick_devices(name)


def test_without_the_variable_gpus_are_numbers(monkeypatch, two):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpus.visible() == ("0", "1")


# How many workers


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 2),
        ({"workers": 3}, 3),
        ({"workers_per_gpu": 3}, 6),
        ({"workers_per_gpu": "auto"}, 12),
    ],
)
def test_every_gpu_has_its_workers(monkeypatch, options, count):
    monkeypatch.setattr(local, "cores", lambda: 12)
    assert most_workers(Engine(gpus=("4", "7"), **options), "cuda") == count


def test_workers_are_dealt_out_in_turn_and_see_one_gpu_each(started):
    several = started(LocalExecutor(3, lambda *_: None, cpu_workers=1, gpus=("4", "7")))
    seen = [several._environment(number)["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert seen == ["4", "7", "4", ""]
    assert [[*several._mates(number)] for number in range(3)] == [[0, 2], [1], [0, 2]]
    assert started(LocalExecutor(1, lambda *_: None))._environment(0) == {}


def test_each_gpu_is_packed_by_its_own_memory(started):
    several = started(executor(Engine(workers_per_gpu="auto", gpus=("4", "7")), 5, print))
    assert [packing.most for packing in several._packings] == [3, 2]
    several._packings[1].learn(peak=1, free=10, total=11)
    assert [packing.workers for packing in several._packings] == [1, 2]
    assert several.workers == 2


def test_no_gpu_has_more_stages_than_workers(monkeypatch, started):
    """Four workers on two GPUs: four stages run at once, two on each, and those that share say so."""
    running, most, changed = Counter(), Counter(), threading.Condition()
    shared = []

    def ask(executor, number, job):
        gpu = executor._environment(number)["CUDA_VISIBLE_DEVICES"]
        with changed:
            shared.append(job.shares_gpu)
            running[gpu] += 1
            most[gpu] = max(most[gpu], running[gpu])
            changed.notify_all()
            assert changed.wait_for(lambda: len(shared) >= 4, timeout=60)
            running[gpu] -= 1

    monkeypatch.setattr(LocalExecutor, "_ask", ask)
    several = started(LocalExecutor(4, lambda *_: None, gpus=("4", "7")))
    futures = [several.submit(job("", f"stage {number}")) for number in range(12)]
    assert [future.exception(timeout=60) for future in futures] == [None] * 12
    assert most == {"4": 2, "7": 2}
    assert all(shared)


def test_alone_on_its_gpu_a_stage_shares_nothing(monkeypatch, started):
    shared = []
    monkeypatch.setattr(LocalExecutor, "_ask", lambda _executor, _number, job: shared.append(job.shares_gpu))
    several = started(LocalExecutor(2, lambda *_: None, gpus=("4", "7")))
    assert several.submit(job("", "one")).exception(timeout=60) is None
    assert shared == [False]


def test_a_job_that_others_put_beside_others_shares_its_gpu(monkeypatch, started, tmp_path):
    """As Ray does. Its second try is then not said to be alone."""
    shared = []

    def ask(_executor, _number, job):
        shared.append(job.shares_gpu)
        raise StageError("out of memory", memory=True)

    monkeypatch.setattr(LocalExecutor, "_ask", ask)
    one = started(LocalExecutor(1, lambda *_: None, gpus=("4",)))
    error = one.submit(replace(job(tmp_path, "one"), shares_gpu=True)).exception(timeout=60)
    assert shared == [True, True]
    assert str(error) == "out of memory, twice; it may need more memory than there is, so try a smaller batch"


def test_this_process_computes_on_the_first_gpu_alone(two):
    with pytest.raises(PrunebenchError, match="use --workers 1 for another"):
        executor(Engine(workers=0, gpus=("7",)), 0, print)


# What they make, on pretended devices

TELLING = """
import os
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Telling(Scorer):
    name = "telling"
    note: str
    factor: float

    def score(self, images):
        import torch
        note = Path(self.note)
        note.mkdir(exist_ok=True)
        (note / f"{os.environ['CUDA_VISIBLE_DEVICES']} {self.factor}").touch()
        while len({path.name[0] for path in note.iterdir()}) < int(note.name):
            pass
        values = torch.arange(float(len(images)), device="cuda") * self.factor
        return values.cpu().numpy()

@hookimpl
def register_scorers():
    return [Telling]
"""


def job(store, title, part=None):
    what = {} if part is None else {"part": part}
    return Job("scores", f"{title:*^64}", title, what, [], "digits", "", str(store), "cuda", "root")


def test_two_gpus_make_what_one_makes(install, tmp_path, monkeypatch, started):
    """The first stages wait until as many GPUs are at work as there are, which the name of the note says."""
    install("telling", TELLING)
    pretend = f"sys.path.insert(0, {str(ROOT)!r}); from tests.pretend_gpu import install; install(); "
    monkeypatch.setattr(worker_process, "python", lambda statement: python(pretend + statement))
    scores = {}
    for chosen in (("4",), ("4", "7")):
        store, note = Store(tmp_path / f"store {len(chosen)}"), tmp_path / str(len(chosen))
        several = started(LocalExecutor(len(chosen), lambda *_: None, gpus=chosen))
        values = {"part": "telling", "note": str(note)}
        parts = [registry.load().part("scorer", values | {"factor": factor}) for factor in (1.0, 2.0, 3.0)]
        futures = [several.submit(job(store.root, str(part.factor), identity(part))) for part in parts]
        assert [future.exception(timeout=120) for future in futures] == [None] * 3
        assert {path.name.split()[0] for path in note.iterdir()} == {*chosen}
        payloads = sorted(store.root.glob("??/*/payload.safetensors"))
        scores[chosen] = [path.read_bytes() for path in payloads]
    one, two = scores.values()
    assert one == two and len(one) == 3
