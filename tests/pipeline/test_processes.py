"""Stages that several processes make together: what is stored, who ends with whom, and what is refused."""

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.artefacts import Accuracy, Labels, Scores
from prunebench.parts.identity import identity
from prunebench.pipeline.executors import local
from prunebench.pipeline.executors.engine import Engine, StageError, WorkerDied
from prunebench.pipeline.executors.factory import check, executor
from prunebench.pipeline.executors.local import LocalExecutor, most_workers
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.job import Job
from prunebench.results import record
from prunebench.runs.run import run_matrix
from prunebench.runs.select import choose
from prunebench.suites.cells import Filters

# Results


@pytest.fixture
def cores(monkeypatch):
    """cores(8) makes this a machine of so many cores."""
    return lambda count: monkeypatch.setattr(local, "cores", lambda: count)


def test_two_processes_store_what_one_stores(tmp_path, cores):
    """A labeler and a final training, from the same inputs and under the same keys."""
    cores(2)
    changes = {"recipe.epochs": 2, "fixmatch.iterations": 10, "fixmatch.batch": 16}
    filters = Filters(methods=["semi_aum"], ratios=[90], seeds=[0], changes=changes)
    matrix = choose("quickstart", filters, device="cpu", store=tmp_path / "store")
    assert run_matrix(matrix, forecast_from_store(matrix), None, Engine(workers=0)) == {}
    stages = {stage.kind: stage for stage in matrix.graph.lineage(matrix.cells[0])}
    assert {kind for kind, stage in stages.items() if stage.data_parallel} == {
        "labels",
        "dynamics",
        "accuracy",
    }
    trained = {"labels": Labels, "accuracy": Accuracy}
    store, one, before = matrix.store, {}, {}
    for kind, artefact in trained.items():
        one[kind], before[kind] = store.read(stages[kind].key, artefact), store.manifest(stages[kind].key)
        store.remove(stages[kind].key)

    two = Engine(workers=1, processes=2)
    assert run_matrix(matrix, forecast_from_store(matrix), None, two) == {}

    for kind, artefact in trained.items():
        found, manifest = store.read(stages[kind].key, artefact), store.manifest(stages[kind].key)
        for name, values in one[kind].arrays()[0].items():
            np.testing.assert_allclose(found.arrays()[0][name], values, rtol=1e-3, atol=1e-3)
        assert manifest["device_name"] == f"2 x {before[kind]['device_name']}"
        for unit in ("steps", "images", "multiply_adds"):
            assert manifest["work"][unit] == before[kind]["work"][unit]
    assert record.row(matrix, matrix.cells[0]).device_name.startswith("2 x ")
    assert not [*store.root.glob("checkpoints/*"), *store.root.glob("leases/*")]


# Ends

PAIRED = """
import os, signal, time
from dataclasses import dataclass, replace
from pathlib import Path
import numpy as np
from prunebench import PrunebenchError, Recipe, Scorer, hookimpl

RECIPE = Recipe(network="cnn", epochs=6, batch=16, lr=0.01)

@dataclass(frozen=True, kw_only=True)
class Paired(Scorer):
    name = "paired"
    data_parallel = True
    does: str
    note: str

    def score(self, images, rng, device, checkpoint, progress):
        from prunebench.nn import loop, processes, training

        loop.CHECKPOINT_SECONDS = loop.SAVING_SHARE = 0.0
        note, me = Path(self.note), "first" if processes.first() else "second"
        with (note / me).open("a") as file:
            file.write(f"{os.getpid()}\\n")
        steps = []

        def acts(done, total):
            steps.append(done)
            progress(done, total)
            if done == 7 and self.does == "second fails" and me == "second":
                raise ValueError("not second")
            again = len((note / me).read_text().split()) > 1
            if done == 7 and (self.does == f"{me} dies" or self.does == f"{me} dies once" and not again):
                os.kill(os.getpid(), signal.SIGKILL)
            if done == 7 and self.does == "all refuse":
                raise PrunebenchError("use another scorer")

        labels = np.arange(len(images)) % 2
        training.train(images, labels, RECIPE, classes=2, rng=rng, device=device, progress=acts,
                       checkpoint=checkpoint, index=np.arange(64))
        return np.full(len(images), float(steps[0]))

@hookimpl
def register_scorers():
    return [Paired]
"""


@pytest.fixture
def paired(install, tmp_path, store, started):
    """paired(does) runs the scoring of the digits in two processes. It returns the error and the scores."""
    install("paired", PAIRED)

    def run(does):
        (tmp_path / does).mkdir()
        part = registry.load().part("scorer", {"part": "paired", "does": does, "note": str(tmp_path / does)})
        what = {"part": identity(part), "seed": ["root", "scores", 0]}
        job = Job(
            kind="scores",
            key=f"{does:*^64}",
            title=f"paired {does}",
            identity=what,
            inputs=[],
            dataset="digits",
            data="",
            store=str(store.root),
            device="cpu",
            root="root",
            processes=2,
        )
        pair = started(LocalExecutor(1, lambda *_: None, processes=2))
        error = pair.submit(job).exception(timeout=240)
        return error, None if error else store.read(job.key, Scores).values

    return run


def pids(folder, name):
    return [int(line) for line in (folder / name).read_text().split()]


def gone(pid):
    """Whether a process ends within seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            # One that has ended is there until its parent asks for its exit code.
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
            time.sleep(0.05)
            continue
        return True
    return False


def test_where_one_dies_the_other_ends_and_the_stage_goes_on(paired, tmp_path):
    """From the checkpoint after the fourth step, the end of an epoch."""
    error, scores = paired("second dies once")
    assert error is None
    assert scores[0] == 5
    first, second = (pids(tmp_path / "second dies once", name) for name in ("first", "second"))
    assert len({*first, *second}) == 4
    assert gone(first[0]) and gone(second[0]) and gone(second[1])


def test_where_the_first_dies_the_other_ends_and_that_is_told(paired, tmp_path):
    error, _scores = paired("first dies")
    assert isinstance(error, WorkerDied)
    assert str(error).startswith(
        "a worker process ended with code -9 (SIGKILL) while making paired first dies"
    )
    assert ", twice" in str(error)
    assert all(gone(pid) for name in ("first", "second") for pid in pids(tmp_path / "first dies", name))


def test_the_error_of_one_alone_is_that_of_the_stage(paired, tmp_path, store):
    error, _scores = paired("second fails")
    assert isinstance(error, StageError) and not isinstance(error, WorkerDied)
    assert str(error) == "ValueError: not second (paired.py:30)"
    assert all(gone(pid) for name in ("first", "second") for pid in pids(tmp_path / "second fails", name))
    assert store.failure(f"{'second fails':*^64}")["message"] == "ValueError: not second (paired.py:30)"


def test_an_error_of_all_is_told_once_and_the_worker_lives_on(paired, tmp_path):
    error, _scores = paired("all refuse")
    assert str(error) == "use another scorer"
    assert not gone(pids(tmp_path / "all refuse", "first")[0])
    assert gone(pids(tmp_path / "all refuse", "second")[0])


# How many, and on which GPUs


@pytest.mark.parametrize(
    ("options", "device", "count"),
    [
        ({"processes": 2}, "cpu", 4),
        ({"processes": 3}, "cpu", 2),
        ({"processes": 2, "workers": 1}, "cpu", 1),
        ({"processes": 2, "gpus": ("4", "5", "7")}, "cuda", 1),
        ({"processes": 2, "gpus": ("4", "5", "6", "7")}, "cuda", 2),
    ],
)
def test_each_worker_has_a_core_or_a_gpu_for_each_process(cores, options, device, count):
    cores(8)
    assert most_workers(Engine(**options), device) == count


@pytest.mark.parametrize(
    ("options", "device", "message"),
    [
        ({"processes": 9}, "cpu", "there are 8 cores"),
        ({"processes": 3, "gpus": ("4", "7")}, "cuda", "there are 2 GPUs"),
        ({"processes": 2, "gpus": ("4", "7"), "workers_per_gpu": 2}, "cuda", "leave out --workers-per-gpu"),
    ],
)
def test_what_there_is_not_is_not_shared_out(cores, options, device, message):
    cores(8)
    with pytest.raises(PrunebenchError, match=message):
        most_workers(Engine(**options), device)


@pytest.mark.parametrize("options", [{"name": "dask"}, {"workers": 0}])
def test_only_local_workers_train_together(options):
    with pytest.raises(PrunebenchError, match="needs worker processes of --executor local"):
        check(Engine(processes=2, **options))


def test_the_command_says_what_is_missing(cli, cores):
    cores(8)
    line = "run --suite quickstart --methods random --ratios 90 --seeds 1 --processes-per-training"
    answer = cli(f"{line} 9")
    assert answer.code == 2
    assert answer.err.endswith(
        "Error: --processes-per-training 9: there are 8 cores; give each process one of its own\n"
    )
    assert cli(f"{line} 2 --workers 0").err.endswith("leave it out, or --executor and --workers\n")


def test_processes_see_all_gpus_of_their_worker_each_another_one_first(started):
    engine = Engine(processes=2, gpus=("4", "5", "6", "7", "9"), cpu_workers=1)
    several = started(executor(engine, 2, print))
    seen = [[several._environment(number, rank) for rank in (0, 1)] for number in (0, 1)]
    assert [[one["CUDA_VISIBLE_DEVICES"] for one in of_worker] for of_worker in seen] == [
        ["4,5", "5,4"],
        ["6,7", "7,6"],
    ]
    assert several._environment(2)["CUDA_VISIBLE_DEVICES"] == ""
