"""Draining: a runner that knows the file of a run makes what nobody else makes."""

import platform
import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors import drain
from prunebench.pipeline.executors.engine import StageError
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.store import PAYLOAD


class Noting(InlineExecutor):
    """Notes the titles of its jobs."""

    made = ()

    def __init__(self, *_arguments, **_named):
        super().__init__(lambda *_progress: None)

    def submit(self, job):
        Noting.made += (job.key,)
        return super().submit(job)


@pytest.fixture
def run(matrix, tmp_path, monkeypatch):
    """The file of a run of four cells, their matrix, and a runner that notes what it makes."""
    monkeypatch.setattr(drain, "LocalExecutor", Noting)
    Noting.made = ()
    path = tmp_path / "store" / "runs" / "run"

    def written(*methods, **keys):
        chosen = matrix(*methods, **keys)
        drain.write(path, map(chosen.job, chosen.graph.stages.values()))
        return path, chosen

    return written


def test_a_run_passes_through_its_file(run):
    path, matrix = run("random", "el2n_supervised")
    known = drain.read(path)
    stages = matrix.graph.stages
    assert [node.job for node in known] == [matrix.job(stage) for stage in stages.values()]
    for node in known:
        assert [source.key for source in node.sources] == [source.key for source in stages[node.key].sources]


@pytest.mark.parametrize("begin", [0.0, 0.5, 0.99])
def test_a_runner_makes_all_wherever_it_begins(run, begin):
    path, matrix = run("random", "el2n_supervised", ratios=(50, 60))
    drain.drain(path, begin, None)
    assert matrix.missing() == {}
    assert sorted(Noting.made) == sorted(matrix.graph.stages)
    drain.drain(path, begin, None)
    assert len(Noting.made) == len(matrix.graph.stages)  # nothing again


def test_runners_begin_at_different_stages(run):
    path, matrix = run("random", seeds=(0, 1, 2, 3))
    ready = [key for key, stage in matrix.graph.stages.items() if not stage.inputs]
    drain.drain(path, 0.5, None)
    assert ready.index(Noting.made[0]) > 0


def test_a_runner_leaves_to_others_what_they_make_and_what_failed_there(run, store):
    path, matrix = run("random", "el2n_supervised")
    failed, made, *_ = (key for key, stage in matrix.graph.stages.items() if not stage.inputs)
    store.fail(
        failed, {"message": "not today", "missing": None, "busy": None, "traceback": "", "memory": False}
    )
    with store.lease(made, "elsewhere"):
        runner = threading.Thread(target=drain.drain, args=(path, 0.0, None))
        runner.start()
        while made not in Noting.made:
            assert runner.is_alive()
        assert runner.is_alive()
    runner.join(60)
    assert not runner.is_alive()
    assert failed not in Noting.made and made in store
    assert failed in matrix.missing()


def test_an_input_that_is_damaged_is_made_again(run, store):
    path, matrix = run("random", "el2n_supervised")
    drain.drain(path, 0.0, None)
    scores = next(stage for stage in matrix.graph.stages.values() if stage.kind == "scores")
    (dynamics,) = [source for source in scores.sources if source.kind == "dynamics"]
    store.remove(scores.key)
    payload = store.path(dynamics.key) / PAYLOAD
    payload.write_bytes(payload.read_bytes()[:-1] + b"?")
    Noting.made = ()
    drain.drain(path, 0.0, None)
    assert set(Noting.made) == {scores.key, dynamics.key}
    assert matrix.missing() == {}


def test_other_code_is_recorded_as_a_failure(run, store):
    path, matrix = run("random")
    job = replace(matrix.job(next(iter(matrix.graph.stages.values()))), key="0" * 64)
    turns = drain._Turns(path, store, False, None)
    error = turns.submit(job).exception(60)
    assert "install the same prunebench" in str(error)
    assert store.failure(job.key)["message"] == f"{error} (on {platform.node()})"
    turns.shutdown()


def test_a_runner_ends_once_the_run_is_over(run, monkeypatch):
    path, matrix = run("random", seeds=(0, 1))

    class Never(Noting):
        def submit(self, job):
            path.unlink(missing_ok=True)
            return Future()

    monkeypatch.setattr(drain, "LocalExecutor", Never)
    drain.drain(path, 0.0, None)
    assert len(matrix.missing()) == len(matrix.graph.stages)
    drain.drain(path, 0.0, None)  # one that begins late ends at once


def test_a_failure_elsewhere_is_raised(run, store):
    path, matrix = run("random")
    job = matrix.job(next(iter(matrix.graph.stages.values())))
    store.fail(job.key, {"message": "no", "missing": None, "busy": None, "traceback": "t", "memory": False})
    turns = drain._Turns(path, store, False, None)
    error = turns.submit(job).exception(60)
    assert isinstance(error, StageError) and (str(error), error.trace) == ("no", "t")
    path.unlink()
    with pytest.raises(PrunebenchError, match="the run is over"):
        turns.submit(job).result(60)
    turns.shutdown()
