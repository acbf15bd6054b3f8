"""Picks that go on where the last stage ended: the same images, and the same time counted."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from prunebench.nn import neighbors
from prunebench.parts import work
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins import kept
from prunebench_plugins.draws.probcover import ProbCover
from prunebench_plugins.draws.typiclust import TypiClust
from prunebench_plugins.draws.usl import Usl
from prunebench_plugins.kept import first_picks, latest
from prunebench_plugins.labelers.propagate import Propagate
from prunebench_plugins.labelers.temi import loop
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation
from prunebench_plugins.selectors.herding import Herding
from prunebench_plugins.selectors.k_center import KCenter
from tests.plugins.extrapolation import extrapolate

PARTS = (
    Herding(),
    Herding(pick="farthest"),
    KCenter(),
    TypiClust(clusters=7),
    TypiClust(clusters=50),
    Usl(clusters=9, neighbors=10),
    Usl(clusters=80, neighbors=10),
    ProbCover(classes=3),
)


class Clock:
    """A clock that stands still, unless work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now / 2


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kept, "time", clock)
    return clock


class Blocks:
    """Begins ten blocks of ten images, each of which takes three seconds."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun = 0
        self.made = 0

    def __call__(self) -> Iterator[np.ndarray]:
        self.begun += 1
        for block in np.arange(100).reshape(10, 10):
            self.clock.now += 3
            self.made += 1
            yield block


def silent(done: int, total: int) -> None:
    """Take no notice."""


def picked(part, embeddings: np.ndarray, count: int, seed: int = 0) -> list[int]:
    choose = part.select if isinstance(part, Herding | KCenter) else part.draw
    return choose(embeddings, count, np.random.default_rng(seed), device="cpu", progress=silent).tolist()


def vectors() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(150, 6)).astype(np.float32) + 1


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_the_picks_are_those_of_a_first_call(part) -> None:
    together = [picked(part, vectors(), count) for count in (20, 5, 150, 60)]
    apart = []
    for count in (20, 5, 150, 60):
        kept._picks.clear()
        apart.append(picked(part, vectors(), count))
    assert together == apart
    assert [len(set(images)) for images in apart] == [20, 5, 150, 60]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_another_seed_or_other_embeddings_begin_anew(part) -> None:
    asked = [(vectors(), 0), (vectors(), 1), (vectors()[::-1], 1), (vectors(), 0)]
    together = [picked(part, embeddings, 30, seed) for embeddings, seed in asked]
    apart = []
    for embeddings, seed in asked:
        kept._picks.clear()
        apart.append(picked(part, embeddings, 30, seed))
    assert together == apart
    assert together[1] != together[2]


@pytest.mark.parametrize("part", (TypiClust(clusters=7), ProbCover(classes=3)), ids=repr)
def test_other_labels_begin_anew(part) -> None:
    def drawn(labels: list[int]) -> list[int]:
        labeled = np.isin(np.arange(150), labels)
        rng = np.random.default_rng(0)
        return part.draw(vectors(), 30, rng, device="cpu", progress=silent, labeled=labeled).tolist()

    first = drawn([])
    second = drawn(first[:3])
    kept._picks.clear()
    assert drawn(first[:3]) == second != first


def test_later_calls_go_on_and_count_the_time_of_all(clock) -> None:
    begin = Blocks(clock)
    found = []
    for count in (15, 40, 25, 0, 100):
        started = clock.now
        with work.counted() as done:
            images = first_picks(count, begin, "these", device="cpu", progress=silent)
        assert images.tolist() == [*range(count)]
        spent = clock.now - started
        found.append((begin.made, spent + done.reused_seconds, spent / 2 + done.reused_cpu_seconds))
    assert begin.begun == 1
    # 15 images take two blocks, 40 take four, 25 three, none nothing, and 100 ten.
    assert found == [(2, 6, 3), (4, 12, 6), (4, 9, 4.5), (4, 0, 0), (10, 30, 15)]


def test_progress_is_that_of_the_call(clock) -> None:
    begin = Blocks(clock)
    first_picks(15, begin, "these", device="cpu", progress=silent)
    seen: list[tuple[int, int]] = []
    first_picks(35, begin, "these", device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(30, 35), (35, 35)]


@pytest.mark.parametrize(
    ("device", "numbers", "held"), [("cuda", 8, False), ("cpu", 13, False), ("cpu", 12, True)]
)
def test_arrays_on_a_gpu_or_large_ones_are_not_held(clock, monkeypatch, device, numbers, held) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    begin = Blocks(clock)
    for count in (15, 5, 20):  # two blocks reach all of these
        found = first_picks(count, begin, np.zeros(numbers), device=device, progress=silent)
        assert found.tolist() == list(range(count))
    assert begin.begun == 1
    first_picks(25, begin, np.zeros(numbers), device=device, progress=silent)
    assert begin.begun == (1 if held else 2)


def test_arrays_that_are_not_held_are_freed(monkeypatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 100)

    def blocks(values: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, 30, 10):
            yield values[start : start + 10].astype(int)

    vectors = np.arange(30.0)
    held = weakref.ref(vectors)
    first_picks(15, partial(blocks, vectors), vectors, device="cpu", progress=silent)
    del vectors
    assert held() is None


def test_picks_that_failed_are_begun_anew() -> None:
    calls = []

    def begin() -> Iterator[np.ndarray]:
        calls.append(1)
        yield np.arange(10)
        if len(calls) == 1:
            raise MemoryError
        yield np.arange(10, 20)

    assert len(first_picks(5, begin, "these", device="cpu", progress=silent)) == 5
    with pytest.raises(MemoryError):
        first_picks(15, begin, "these", device="cpu", progress=silent)
    assert first_picks(15, begin, "these", device="cpu", progress=silent).tolist() == [*range(15)]


def test_too_few_images_are_returned_as_they_are(clock) -> None:
    found = first_picks(101, Blocks(clock), "these", device="cpu", progress=silent)
    assert found.tolist() == [*range(100)]


def test_the_latest_value_is_made_once_and_its_time_counted_twice(clock) -> None:
    def make(array: np.ndarray, factor: int) -> np.ndarray:
        clock.now += 8
        return factor * array

    for factor, reused in ((2, 0), (2, 8), (3, 0), (2, 0)):
        with work.counted() as done:
            assert latest(make, np.ones(3), factor).tolist() == [factor] * 3
        assert (done.reused_seconds, done.reused_cpu_seconds) == (reused, reused / 2)


def test_a_value_of_other_keywords_is_another() -> None:
    def make(array: np.ndarray, *, by: int = 1, to: int = 0) -> np.ndarray:
        return array * by + to

    keywords: list[dict[str, int]] = [{"by": 2}, {"to": 2}, {"by": 2, "to": 3}, {}]
    found = [latest(make, np.ones(2), **named).tolist()[0] for named in keywords]
    assert found == [2, 3, 5, 1]


def clustered(embeddings: np.ndarray, seed: int) -> np.ndarray:
    part = Temi(epochs=1, warmup_epochs=0, neighbors=5)
    checkpoint = MemoryCheckpoint()
    rng = np.random.default_rng(seed)
    return part.label(embeddings, ("a", "b"), rng, "cpu", lambda done, total: None, checkpoint).values


def propagated(embeddings: np.ndarray, seed: int) -> np.ndarray:
    known = np.full(len(embeddings), -1)
    known[[seed, seed + 1]] = 0, 1
    return Propagate(neighbors=5).label(embeddings, ("a", "b"), known, "cpu").values


def extrapolated(embeddings: np.ndarray, seed: int) -> np.ndarray:
    part = ScoreExtrapolation(neighbors=5, epochs=2)
    scored = np.arange(seed, seed + 10)
    return extrapolate(part, embeddings, scored, np.arange(10.0), device="cpu")


@pytest.mark.parametrize("run", [clustered, propagated, extrapolated])
def test_seeds_share_the_neighbors_and_leave_them_as_they_are(monkeypatch, run) -> None:
    searched = []
    search = neighbors.nearest

    def nearest(*asked, **named):
        searched.append(asked)
        return search(*asked, **named)

    monkeypatch.setattr(neighbors, "nearest", nearest)
    monkeypatch.setattr(loop, "nearest", nearest)
    embeddings = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    first = run(embeddings, 0)
    run(embeddings, 1)
    again = run(embeddings, 0)
    assert len(searched) == 1
    assert first.tolist() == again.tolist()
    run(embeddings + 1, 0)
    assert len(searched) == 2
