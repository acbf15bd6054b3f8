"""Images per second of several small trainings at once on one GPU, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from benchmarks.gpu.measure import WARM_UP, Step
from benchmarks.gpu.session import Session
from benchmarks.gpu.steps import Problem, ours

TRAININGS = (1, 2, 4, 8)
PROBLEMS = (Problem(network="resnet18_cifar", batch=128), Problem(network="resnet18_cifar", batch=32))
TINY_TRAININGS = (1, 2)
TINY_PROBLEMS = (Problem(network="cnn", batch=4, stored=8),)
PRECISION = "bf16"
PACKED = 3  # times as long as another measurement, as processes neither begin nor end at once
PATIENCE = 60.0  # seconds until all processes are ready


def plan(session: Session) -> tuple[tuple[Problem, ...], tuple[int, ...]]:
    """Return what is trained, and how many of it at once."""
    return (TINY_PROBLEMS, TINY_TRAININGS) if session.rehearse else (PROBLEMS, TRAININGS)


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the images per second for each number of trainings, and how many times those of one alone."""
    problems, numbers = plan(session)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(numbers[-1] + 1), context.Queue()
    for place in range(numbers[-1]):
        context.Process(target=work, args=(place, session, barrier, answers), daemon=True).start()
    for problem in problems:
        alone = None
        for trainings in numbers:
            barrier.wait(PATIENCE)
            rates = [answers.get(timeout=PATIENCE) for _ in range(trainings)]
            alone = alone or sum(rates)
            yield {
                "finding": "packing",
                "network": problem.network,
                "batch": problem.batch,
                "precision": PRECISION,
                "trainings": trainings,
                "images_per_s": sum(rates),
                "slowest": min(rates),
                "times_one_alone": sum(rates) / alone,
            }


def work(place: int, session: Session, barrier: Barrier, answers: Queue[float]) -> None:
    """Train in every round of more than `place` trainings. Answer with images per second."""
    session.prepare()
    problems, numbers = plan(session)
    for problem in problems:
        step = ours(problem, PRECISION, recorded=True)
        for _ in range(WARM_UP):
            step()
        torch.cuda.synchronize()
        for trainings in numbers:
            barrier.wait(PATIENCE)
            if place < trainings:
                answers.put(problem.batch * steps_per_second(step, session))


def steps_per_second(step: Step, session: Session) -> float:
    """Return how many steps are made in a second, by one of several trainings."""
    begin, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - begin < PACKED * session.seconds:
        for _ in range(session.steps):
            step()
        torch.cuda.synchronize()
        steps += session.steps
    return steps / (time.perf_counter() - begin)
