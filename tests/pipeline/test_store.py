"""The store's promises: one question, one key; whole or not at all; verified on read; made once."""

import contextlib
import errno
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

import prunebench.pipeline.store
from prunebench.errors import BusyError, MissingArtefactError, PrunebenchError
from prunebench.parts.artefacts import Labels, Scores, Weights
from prunebench.pipeline import jobs
from prunebench.pipeline.job import Job
from prunebench.pipeline.stages.scores import ScorerScores
from prunebench.pipeline.store import Store, key
from prunebench.system import leases

QUESTION = {
    "stage": "scores",
    "version": 1,
    "identity": {"part": "dual", "fields": {"window": 10}, "seed": [0, "scores", 0]},
    "inputs": {"dynamics": "d0", "dataset": "r0"},
}
KEY = key(**QUESTION)
SCORES = Scores(values=np.arange(5.0))


# Keys


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "labels"},
        {"version": 2},
        {"identity": {"part": "dual", "fields": {"window": 9}, "seed": [0, "scores", 0]}},
        {"identity": {"part": "dual", "fields": {"window": 10}, "seed": [0, "scores", 1]}},
        {"inputs": {"dynamics": "d1", "dataset": "r0"}},
        {"inputs": {"dynamics": "d0", "dataset": "r1"}},
    ],
)
def test_another_question_has_another_key(change):
    assert key(**QUESTION) == KEY
    assert key(**QUESTION | change) != KEY


json = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(-9, 9) | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=10,
)


def turned(value):
    """Return an equal JSON value whose objects list their members the other way round."""
    if isinstance(value, dict):
        return {name: turned(member) for name, member in reversed(value.items())}
    return [turned(member) for member in value] if isinstance(value, list) else value


@given(some.dictionaries(some.text(), json))
def test_a_key_does_not_depend_on_the_order_of_fields(identity):
    assert key("scores", 1, identity, {}) == key("scores", 1, turned(identity), {})


# Writing and reading


def test_what_was_written_is_read(store):
    labels = Labels(values=[0, -1, 2], annotated=[True, False, False], confidences=[1, 0.5, 0.25])
    store.write(KEY, [labels], {"seconds": 1.5})
    read = store.read(KEY, Labels)
    assert read.values.tolist() == [0, -1, 2]
    assert read.annotated.tolist() == [True, False, False]
    assert read.confidences.tolist() == [1, 0.5, 0.25]
    assert read.space == "class"
    assert store.manifest(KEY)["seconds"] == 1.5
    with pytest.raises(ValueError, match="read-only"):
        read.values[0] = 1


def test_named_arrays_keep_their_shape_a_number_too(store):
    values = {"bn.count": np.array(7), "head.weight": np.ones((2, 2), np.float32)}
    store.write(KEY, [Weights(network="cnn", values=values)], {})
    read = store.read(KEY, Weights).values
    assert read["bn.count"].shape == () and read["bn.count"] == 7
    assert read["head.weight"].tolist() == [[1, 1], [1, 1]]


def test_what_was_never_written_is_missing(store):
    assert KEY not in store and not store.verify(KEY)
    with pytest.raises(MissingArtefactError) as error:
        store.read(KEY, Scores)
    assert error.value.key == KEY


def cut(content, place):
    return content[: int(place * len(content))]


def flipped(content, place):
    at = int(place * (len(content) - 1))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("file", ["payload.safetensors", "manifest.json"])
@pytest.mark.parametrize("place", [0, 0.01, 0.1, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("damage", [cut, flipped])
def test_damage_is_detected_set_aside_and_mended(store, file, damage, place):
    store.write(KEY, [SCORES], {"seconds": 1.5, "device": "cpu"})
    path = store.path(KEY) / file
    path.write_bytes(damage(path.read_bytes(), place))
    assert not store.verify(KEY)
    with pytest.raises(MissingArtefactError):
        store.read(KEY, Scores)
    assert [entry.name[:16] for entry in (store.root / "quarantine").iterdir()] == [KEY[:16]]
    store.write(KEY, [SCORES], {})
    assert store.read(KEY, Scores).values.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("file", ["payload.safetensors", "manifest.json"])
def test_a_lost_file_is_mended(store, file):
    store.write(KEY, [SCORES], {})
    (store.path(KEY) / file).unlink()
    assert not store.verify(KEY)
    store.write(KEY, [SCORES], {})
    assert store.verify(KEY)


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b""), Path.unlink])
def test_a_manifest_whose_payload_is_not_as_long_as_it_was_is_not_believed(store, harm):
    store.write(KEY, [SCORES], {})
    harm(store.path(KEY) / "payload.safetensors")
    with pytest.raises(MissingArtefactError):
        store.manifest(KEY)


# From another store


@pytest.fixture
def other(tmp_path):
    """Another store, with an entry."""
    other = Store(tmp_path / "other")
    other.write(KEY, [SCORES], {"seconds": 1.5})
    return other


def contents(store):
    return {path: path.read_bytes() for path in sorted(store.root.rglob("*")) if path.is_file()}


def test_an_entry_is_taken_from_another_store(store, other):
    store.fail(KEY, {"message": "no"})
    store.checkpoint(KEY).save({"epoch": 3})
    before = contents(other)
    store.take(KEY, other)
    assert store.read(KEY, Scores).values.tolist() == [0, 1, 2, 3, 4]
    assert store.manifest(KEY) == other.manifest(KEY)
    assert (store.failure(KEY), store.checkpoint(KEY).load()) == (None, None)
    assert contents(other) == before
    assert list((store.root / "making").iterdir()) == []


@pytest.mark.parametrize("file", ["payload.safetensors", "manifest.json"])
@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        lambda path: path.write_bytes(cut(path.read_bytes(), 0.5)),
        lambda path: path.write_bytes(flipped(path.read_bytes(), 0.5)),
    ],
    ids=["gone", "cut", "flipped"],
)
def test_a_damaged_entry_is_not_taken_and_stays_where_it_is(store, other, file, harm):
    harm(other.path(KEY) / file)
    before = contents(other)
    with pytest.raises(MissingArtefactError):
        store.take(KEY, other)
    assert KEY not in store and contents(store) == {}
    assert contents(other) == before


def test_an_interrupted_copy_leaves_nothing(store, other, monkeypatch):
    def interrupt(*_files):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.take(KEY, other)
    assert contents(store) == {} and list((store.root / "making").iterdir()) == []
    store.take(KEY, other)
    assert store.verify(KEY)


def test_a_copy_that_another_cleared_away_is_busy(store, other, monkeypatch):
    monkeypatch.setattr(shutil, "copyfileobj", lambda _file, _target: store._clear(KEY))
    with pytest.raises(BusyError):
        store.take(KEY, other)
    assert KEY not in store


def test_an_entry_that_is_there_stays(store, other):
    store.write(KEY, [Scores(values=[9.0])], {})
    store.take(KEY, other)
    assert store.read(KEY, Scores).values.tolist() == [9]


# Whole or not at all


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_an_interrupted_write_leaves_no_entry(store, monkeypatch, moment):
    """Before the payload, between payload and manifest, and before the rename."""
    calls = []

    def interrupt(original):
        def step(*arguments, **options):
            calls.append(1)
            if len(calls) == moment + 1:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", interrupt(Path.open))
        patch.setattr(Path, "replace", interrupt(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            store.write(KEY, [SCORES], {})
    assert KEY not in store
    store.discard_partial({KEY})
    assert list((store.root / "making").iterdir()) == []
    store.write(KEY, [SCORES], {})
    assert store.verify(KEY)


def full_disk(monkeypatch):
    def no_space(path, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", no_space)


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.write(KEY, [Scores(values=[9.0])], {}),
        lambda store: store.checkpoint(KEY).save({"epoch": 9}),
        lambda store: store.fail(KEY, {"message": "again"}),
    ],
    ids=["artefact", "checkpoint", "failure"],
)
def test_a_full_disk_is_one_clear_line_and_what_was_there_stays(store, monkeypatch, write):
    store.write(KEY, [SCORES], {})
    store.checkpoint(KEY).save({"epoch": 3})
    store.fail(KEY, {"message": "first"})
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(PrunebenchError) as error:
            write(store)
    assert str(error.value).startswith(f"cannot write {store.root}")
    assert str(error.value).endswith(": No space left on device; free space or choose another --store")
    assert store.read(KEY, Scores).values.tolist() == [0, 1, 2, 3, 4]
    assert store.checkpoint(KEY).load() == {"epoch": 3}
    assert store.failure(KEY) == {"message": "first"}
    assert not list(store.root.glob("*/.*"))  # nothing half-written under another name
    write(store)


@pytest.mark.parametrize("torn", ["payload.safetensors", "manifest.json"])
def test_a_disk_that_fills_up_while_an_entry_is_written_gets_its_space_back(store, monkeypatch, torn):
    def write_bytes(path, content):
        with path.open("wb") as file:
            if path.name == torn:
                file.write(content[:9])
                raise OSError(errno.ENOSPC, "No space left on device")
            return file.write(content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(PrunebenchError, match=r"No space left on device; free space or choose another"):
            store.write(KEY, [SCORES], {})
    assert KEY not in store
    assert list((store.root / "making").iterdir()) == []
    store.write(KEY, [SCORES], {})
    assert store.verify(KEY)


def test_a_store_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(PrunebenchError, match=r"cannot write .*; choose another --store"):
        store.fail(KEY, {})


# Failures and checkpoints


def test_a_failure_is_never_a_hit_and_ends_with_success(store):
    store.fail(KEY, {"message": "no"})
    assert KEY not in store
    assert store.failure(KEY) == {"message": "no"}
    store.write(KEY, [SCORES], {})
    assert store.failure(KEY) is None


def test_a_watcher_sees_how_far_a_checkpoint_is_and_changes_nothing(store):
    checkpoint = store.checkpoint(KEY)
    assert checkpoint.peek() == {}
    checkpoint.save({"step": 3, "steps": 12, "weights": np.zeros(1000)})
    assert checkpoint.peek() == {"step": 3, "steps": 12}
    for content in (b"", b"torn", b"\xff" * 500, checkpoint.path.read_bytes()[:60]):
        checkpoint.path.write_bytes(content)
        assert checkpoint.peek() == {}
        assert checkpoint.path.read_bytes() == content


def test_a_checkpoint_takes_arrays_tensors_numbers_and_json(store):
    store.checkpoint(KEY).save(
        {
            "weights": torch.ones(2, 2, requires_grad=True),
            "steps": torch.tensor(7),
            "order": np.array([2, 0, 1]),
            "scale": np.array(0.5),
            "history": [[1, 90.0]],
            "epoch": 3,
        }
    )
    state = Store(store.root).checkpoint(KEY).load()
    assert state["weights"].tolist() == [[1, 1], [1, 1]]
    assert state["steps"].shape == () and state["steps"] == 7
    assert state["order"].tolist() == [2, 0, 1]
    assert state["scale"] == 0.5
    assert (state["history"], state["epoch"]) == ([[1, 90.0]], 3)


@pytest.mark.parametrize("place", [0, 0.1, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_checkpoint_is_none_and_gone(store, damage, place):
    """A flipped bit in a weight, in the step, or in the name of a field."""
    checkpoint = store.checkpoint(KEY)
    checkpoint.save({"weights": np.ones(3), "step": 7})
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes(), place))
    assert checkpoint.load() is None
    assert not checkpoint.path.exists()


def test_a_checkpoint_of_another_stage_is_none(store):
    store.checkpoint(KEY).save({"step": 7})
    store.checkpoint(KEY).path.rename(store.checkpoint("b" * 64).path)
    assert store.checkpoint("b" * 64).load() is None


def test_a_checkpoint_of_other_versions_is_none(store, monkeypatch):
    store.checkpoint(KEY).save({"step": 7})
    monkeypatch.setattr(prunebench.pipeline.store, "versions", lambda: {"torch": "3"})
    assert store.checkpoint(KEY).load() is None


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b'{"message": "a"}', b"[" * 99999])
def test_a_damaged_failure_is_none(store, content):
    store.fail(KEY, {"message": "no"})
    (store.root / "failures" / f"{KEY}.json").write_bytes(content)
    assert store.failure(KEY) is None


def test_a_checkpoint_ends_with_its_artefact(store):
    store.checkpoint(KEY).save({"epoch": 3})
    store.write(KEY, [SCORES], {})
    assert store.checkpoint(KEY).load() is None


def test_remove_forgets_an_entry_and_its_checkpoint(store):
    store.write(KEY, [SCORES], {})
    store.checkpoint(KEY).save({"epoch": 3})
    store.remove(KEY)
    assert KEY not in store
    assert store.checkpoint(KEY).load() is None


# Made once


@pytest.fixture
def job(store):
    identity = {"part": {"kind": "scorer", "part": "dual"}}
    return Job("scores", KEY, "dual", identity, [], "digits", "data", str(store.root), "cpu", "root")


@pytest.fixture
def make(job, monkeypatch):
    """make(maker) runs the job, whose scores this function makes."""

    def made(maker):
        monkeypatch.setattr(ScorerScores, "compute", lambda _stage, context: (maker(context),))
        jobs.run(job, lambda done, total: None)

    return made


def test_what_another_makes_is_busy_and_then_stored(store, make):
    with store.lease(KEY, "scores"):
        assert [*store.being_made()] == [KEY]
        with pytest.raises(BusyError):
            make(lambda _bench: SCORES)
    assert store.being_made() == {}
    make(lambda _bench: SCORES)
    make(None)  # nothing is made twice
    assert store.read(KEY, Scores).values.tolist() == [0, 1, 2, 3, 4]


def other_takes_over(store):
    """What a waiting runner does when it takes this one for gone."""
    for claim in leases.claims(store.root / "leases"):
        claim.clear()
    return store.lease(KEY, "scores")


def test_who_lost_the_lease_stores_nothing(store, make):
    def maker(_bench):
        stack.enter_context(other_takes_over(store))
        return SCORES

    with contextlib.ExitStack() as stack:
        with pytest.raises(BusyError):
            make(maker)
        assert KEY not in store
        assert [*store.being_made()] == [KEY]  # the other's lease stands


def test_who_lost_the_lease_records_no_failure(store, make):
    def maker(_bench):
        stack.enter_context(other_takes_over(store))
        raise ValueError("a file is gone that the other has cleared away")

    with contextlib.ExitStack() as stack, pytest.raises(BusyError):
        make(maker)
    assert store.failure(KEY) is None


def test_who_lost_the_lease_stops_at_the_next_progress(store, make, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_LEASE", "0.05")
    steps = []

    def maker(context):
        stack.enter_context(other_takes_over(store))
        for step in range(1000):
            time.sleep(0.01)
            steps.append(step)
            context.progress(step, 1000)

    with contextlib.ExitStack() as stack, pytest.raises(BusyError):
        make(maker)
    assert len(steps) < 1000


@pytest.mark.parametrize("stopped_at", ["payload.safetensors", "manifest.json"])
@pytest.mark.parametrize("stores", [True, False], ids=["stored", "still storing"])
def test_who_wakes_up_while_another_stores_drops_its_own(store, make, monkeypatch, stopped_at, stores):
    """This one is stopped once it wrote a file. The other begins to store, which clears that away."""
    write_bytes, others = Path.write_bytes, []

    def stopped(path, content):
        write_bytes(path, content)
        if path.name == stopped_at and not others:
            others.append(Scores(values=[9.0]))
            store.write(KEY, others, {}) if stores else store._clear(KEY)

    monkeypatch.setattr(Path, "write_bytes", stopped)
    whole = stores and stopped_at == "manifest.json"  # the other's result is there when this one renames
    with contextlib.nullcontext() if whole else pytest.raises(BusyError):
        make(lambda _bench: SCORES)
    assert store.failure(KEY) is None
    assert (KEY in store) == stores
    assert not stores or store.read(KEY, Scores).values.tolist() == [9]
    assert list((store.root / "making").iterdir()) == []


def test_the_first_of_two_results_stays(store):
    store.write(KEY, [SCORES], {"seconds": 1})
    store.write(KEY, [Scores(values=[9.0])], {"seconds": 2})
    assert store.manifest(KEY)["seconds"] == 1
    assert store.read(KEY, Scores).values.tolist() == [0, 1, 2, 3, 4]
    assert list((store.root / "making").iterdir()) == []


def test_a_sweep_spares_what_somebody_makes(store):
    half = store.root / "making" / f"{KEY}.{'0' * 32}"
    half.mkdir(parents=True)
    with store.lease(KEY, "scores"):
        store.discard_partial({KEY})
        assert half.exists()
    store.discard_partial({"b" * 64})
    assert half.exists()
    store.discard_partial({KEY})
    assert not half.exists()
