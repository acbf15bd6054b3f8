"""The loop that makes stages, with an engine that makes them at once, or fails on request."""

import shutil
from concurrent.futures import Future
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from prunebench.errors import BusyError, MissingArtefactError
from prunebench.parts.artefacts import Scores
from prunebench.pipeline.job import Input
from prunebench.pipeline.schedule import REPAIRS, mended, missing, walk
from prunebench.pipeline.stage import Stage


class Engine:
    """Makes a stage as soon as it is submitted, or fails as `faults` say; `calls` lists its calls."""

    def __init__(self, store, faults=None):
        self.store, self.faults, self.calls = store, faults or {}, []

    def submit(self, stage):
        self.calls.append(stage.identity["name"])
        future = Future()
        try:
            if fault := self.faults.get(stage.identity["name"]):
                fault()
            for upstream in stage.sources:
                self.store.read(upstream.key, Scores)
            self.store.write(stage.key, [Scores(values=np.ones(3))], {})
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        return future


class Unread(Engine):
    """Makes the stage `late` without reading its inputs."""

    def submit(self, stage):
        if stage.name != "late":
            return super().submit(stage)
        self.calls.append(stage.name)
        self.store.write(stage.key, [Scores(values=np.ones(3))], {})
        future = Future()
        future.set_result(None)
        return future


@dataclass(frozen=True, eq=False, kw_only=True)
class Named(Stage):
    """A stage of a test's own: it takes its file alone."""

    kind: ClassVar[str] = "named"

    name: str

    def compute(self, context):
        return (Scores(values=[len(self.inputs)]),)


def stage(name, *inputs):
    given = tuple(Input(source.name, source) for source in inputs)
    return Named(inputs=given, dataset=None, root="root", title=name, name=name)


def damage(store, damaged):
    (store.path(damaged.key) / "payload.safetensors").write_bytes(b"torn")


@pytest.fixture
def chain():
    """a -> b -> c, and d beside them on a alone."""
    a = stage("a")
    b = stage("b", a)
    return {"a": a, "b": b, "c": stage("c", b), "d": stage("d", a)}


@pytest.fixture
def go(store):
    """go(targets, faults) walks to the targets: what was made, in order, the engine, and the outcome."""

    def walked(*targets, faults=None):
        engine, finished = Engine(store, faults), []
        outcome = walk(missing(targets, store), store, engine, lambda stage: stage, finished.append)
        return [stage.identity["name"] for stage in finished], engine.calls, outcome

    return walked


def test_inputs_come_first_and_each_stage_once(go, chain):
    finished, calls, outcome = go(chain["c"], chain["d"])
    assert sorted(calls) == sorted(finished) == ["a", "b", "c", "d"]
    assert calls.index("a") < calls.index("b") < calls.index("c")
    assert outcome.failures == {}


def test_nothing_stored_is_dispatched(go, chain):
    go(chain["b"])
    assert go(chain["c"])[1] == ["c"]
    assert go(chain["c"])[1] == []


def test_what_leads_to_a_stored_target_is_not_made_again(go, chain, store):
    go(chain["c"])
    store.remove(chain["a"].key)
    assert go(chain["c"])[1] == []


def test_a_failure_fails_what_depends_on_it_and_nothing_else(go, chain):
    def fault():
        raise ValueError("no")

    finished, _calls, outcome = go(chain["c"], chain["d"], faults={"b": fault})
    assert finished == ["a", "d"]
    assert [str(outcome.failure(chain[name])) for name in "bc"] == ["no", "no"]
    assert outcome.failure(chain["d"]) is None


def test_a_failed_stage_is_tried_again_by_the_next_run(go, chain):
    def fault():
        raise ValueError("no")

    go(chain["c"], faults={"b": fault})
    assert go(chain["c"])[1] == ["b", "c"]


def test_a_damaged_input_is_made_again_and_its_reader_tried_again(go, chain, store):
    go(chain["b"])
    damage(store, chain["b"])
    finished, calls, outcome = go(chain["c"])
    assert calls == ["c", "b", "c"]
    assert finished == ["c"]
    assert outcome.failures == {}


def test_so_is_what_a_damaged_input_was_made_from(go, chain, store):
    go(chain["b"])
    for name in "ab":
        damage(store, chain[name])
    assert go(chain["c"])[1] == ["c", "b", "a", "b", "c"]


def test_a_damaged_target_is_made_again(go, chain, store):
    go(chain["c"])
    damage(store, chain["c"])
    assert go(chain["c"])[1] == ["c"]


def test_an_input_made_in_this_very_run_may_be_damaged_too(go, chain, store):
    first = iter([lambda: damage(store, chain["a"])])
    finished, calls, outcome = go(chain["c"], faults={"b": lambda: next(first, lambda: None)()})
    assert calls == ["a", "b", "a", "b", "c"]
    assert finished == ["a", "b", "c"]  # each counted once
    assert outcome.failures == {}


def test_two_readers_of_a_damaged_input_wait_for_one_repair(go, chain, store):
    go(chain["a"])
    damage(store, chain["a"])
    assert sorted(go(chain["b"], chain["d"])[1]) == ["a", "b", "b", "d", "d"]


def test_a_gone_input_whose_turn_is_yet_to_come_is_waited_for(store):
    """All but `read` are needed. `read` is damaged, and `late` is gone. What leads to `late` is not read."""
    first = stage("first")
    second = stage("second", first)
    late = stage("late", stage("third", second))
    read = stage("read", late)
    last = stage("last", read)
    engine, finished = Engine(store), []
    walk({s.key: s for s in last.ancestors()}, store, engine, lambda stage: stage, finished.append)
    for gone in (first, second, *late.sources, late, last):
        shutil.rmtree(store.path(gone.key))
    damage(store, read)
    needed = {s.key: s for s in last.ancestors() if s is not read}
    engine, finished = Unread(store), []
    outcome = walk(needed, store, engine, lambda stage: stage, finished.append)
    assert outcome.failures == {}
    assert engine.calls.count("late") == 1
    assert sorted(s.name for s in finished) == ["first", "last", "late", "second", "third"]


def test_an_input_that_cannot_be_made_again_fails_its_reader(go, chain, store):
    def fault():
        raise ValueError("no")

    go(chain["b"])
    damage(store, chain["b"])
    finished, _calls, outcome = go(chain["c"], faults={"b": fault})
    assert finished == []
    assert str(outcome.failure(chain["c"])) == "no"


def test_an_input_that_is_always_damaged_fails_its_reader_in_the_end(go, chain, store):
    def fault():
        raise MissingArtefactError(chain["a"].key)

    _finished, calls, outcome = go(chain["b"], faults={"b": fault})
    assert calls.count("b") == 1 + REPAIRS
    assert isinstance(outcome.failure(chain["b"]), MissingArtefactError)


def test_what_is_no_input_of_a_stage_cannot_be_repaired_for_it(go, chain):
    def fault():
        raise MissingArtefactError(chain["c"].key)

    _finished, calls, outcome = go(chain["b"], faults={"b": fault})
    assert calls == ["a", "b"]
    assert isinstance(outcome.failure(chain["b"]), MissingArtefactError)


# What other runners make


def test_a_stage_that_another_makes_blocks_no_other(go, chain, store):
    """It answers that it is busy, and is left alone until the other ends."""

    def other_ends():
        with store.lease(chain["b"].key, "scores"):
            raise BusyError(chain["b"].key)

    faults = iter([other_ends])
    finished, calls, outcome = go(chain["c"], chain["d"], faults={"b": lambda: next(faults, lambda: None)()})
    assert calls == ["a", "b", "d", "b", "c"]
    assert finished == ["a", "d", "b", "c"]
    assert outcome.failures == {}


def test_what_another_stored_meanwhile_is_not_made_here(go, chain, store):
    def other_stores():
        store.write(chain["b"].key, [Scores(values=np.ones(3))], {})
        raise BusyError(chain["b"].key)

    finished, calls, _outcome = go(chain["c"], faults={"b": other_stores})
    assert calls == ["a", "b", "c"]
    assert finished == ["a", "b", "c"]


def test_a_damaged_input_that_another_makes_again_is_waited_for(go, chain, store):
    go(chain["b"])
    damage(store, chain["b"])

    def other_stores():
        store.write(chain["b"].key, [Scores(values=np.ones(3))], {})
        raise BusyError(chain["b"].key)

    finished, calls, outcome = go(chain["c"], faults={"b": other_stores})
    assert calls == ["c", "b", "c"]
    assert (finished, outcome.failures) == (["c"], {})


# Making and reading


def test_what_is_damaged_between_making_and_reading_is_made_again():
    made, answers = [], [MissingArtefactError("a"), MissingArtefactError("b"), None]

    def read():
        if error := answers.pop(0):
            raise error
        return "whole"

    assert mended(lambda: made.append(1), read) == "whole"
    assert made == [1, 1, 1]


def test_what_is_damaged_time_after_time_is_an_error():
    made = []

    def read():
        raise MissingArtefactError("a")

    with pytest.raises(MissingArtefactError):
        mended(lambda: made.append(1), read)
    assert len(made) == 1 + REPAIRS


# Targets


def test_only_targets_are_read_to_see_whether_they_are_whole(chain, store, go):
    go(chain["b"])
    damage(store, chain["b"])
    assert [s.identity["name"] for s in missing([chain["c"]], store).values()] == ["c"]
    assert [s.identity["name"] for s in missing([chain["b"]], store).values()] == ["b"]
