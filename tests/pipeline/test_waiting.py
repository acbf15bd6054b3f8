"""Which job a worker takes next: one that goes on with its last, none that goes on with another worker's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from prunebench.pipeline.executors import waiting
from prunebench.pipeline.executors.waiting import Waiting
from prunebench.pipeline.job import Job


def job(name: str) -> Job:
    """Return the job of a selection, such as "k_center 0 90": its part, seed and ratio."""
    part, seed, ratio = name.split()
    identity = {"part": part, "seed": [0, "subset", int(seed)], "pruned": int(ratio)}
    inputs = [["embeddings", None, "f" * 64]]
    places = {"dataset": None, "data": "", "store": "", "device": "cpu", "root": ""}
    return Job(kind="subset", key=name, title=part, identity=identity, inputs=inputs, **places)


def queue(*names: str) -> Waiting:
    jobs = Waiting()
    for name in names:
        jobs.put((job(name), Future()))
    return jobs


def taken(jobs: Waiting, workers: str) -> Iterator[str]:
    """Yield what each of some workers takes in turn, such as "010" for the first, the second, the first."""
    for worker in workers:
        item = jobs.get(int(worker))
        yield item[0].key if item else "the end"


def test_a_worker_goes_on_with_its_seed_and_the_other_begins_the_next() -> None:
    jobs = queue("k_center 0 30", "k_center 0 50", "k_center 0 90", "k_center 1 30", "k_center 1 50")
    assert [*taken(jobs, "01011")] == [
        "k_center 0 30",
        "k_center 1 30",
        "k_center 0 50",
        "k_center 1 50",
        "k_center 0 90",  # nothing else is left for the second
    ]


def test_another_part_is_another_selection() -> None:
    jobs = queue("herding 0 30", "k_center 0 30", "herding 0 50")
    assert [*taken(jobs, "010")] == ["herding 0 30", "k_center 0 30", "herding 0 50"]


def test_without_anything_in_common_the_first_comes_first() -> None:
    jobs = queue("a 0 30", "b 0 30", "c 0 30", "d 0 30")
    assert [*taken(jobs, "1001")] == ["a 0 30", "b 0 30", "c 0 30", "d 0 30"]


def test_a_worker_looks_at_the_first_jobs_alone(monkeypatch) -> None:
    monkeypatch.setattr(waiting, "CHOICE", 2)
    jobs = queue("a 0 30", "b 0 30", "c 0 30", "a 0 50")
    assert [*taken(jobs, "00")] == ["a 0 30", "b 0 30"]


def test_the_end_comes_after_what_waits() -> None:
    jobs = queue("a 0 30", "a 0 50")
    jobs.put(None)
    jobs.put(None)
    assert [*taken(jobs, "0110")] == ["a 0 30", "a 0 50", "the end", "the end"]


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_wait_and_every_job_is_taken_once(workers) -> None:
    jobs = Waiting()
    found: list[str] = []

    def serve(number: int) -> None:
        while (item := jobs.get(number)) is not None:
            found.append(item[0].key)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    names = [f"{part} {seed} {ratio}" for part in "abc" for seed in range(5) for ratio in (30, 50, 90)]
    for name in names:
        jobs.put((job(name), Future()))
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(found) == sorted(names)
