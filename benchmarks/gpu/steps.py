"""Training steps beside a plain loop in PyTorch and beside their floors.

| loop | meaning |
|---|---|
| plain loop | a `DataLoader` of PIL images with torchvision's transforms, and `torch.optim.SGD` |
| plain loop, one batch | the same on one batch that stays on the GPU |
| network alone | the network and SGD on one batch, as one CUDA graph: about the limit of any loop |
| ours, launched | starts each kernel of a step from Python |
| ours, recorded | starts all kernels of a step as one CUDA graph, as trainings do |
| ours, recorded, with dynamics | the same, as proxy networks train |

The arithmetic floor of a step is its operations at the rate of a large matrix product on the same GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.gpu.measure import Step, gflop, product_rates, timed, tried
from benchmarks.gpu.session import Session
from prunebench.nn import networks, replay, training
from prunebench.nn.optimizers import Sgd
from prunebench.parts.images import Images
from prunebench.parts.precision import arithmetic, autocast
from prunebench.parts.recipe import Recipe

CLASSES = 10
BATCHES = 16  # of different images
EPOCH = 50_000  # images of the plain loop's epoch
READY = 2  # batches that a worker of the plain loop makes ahead, PyTorch's default
MEAN, STD = (0.5,) * 3, (0.25,) * 3
RNG = np.random.default_rng(0)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network, a batch, and the images that it sees.

    stored: side of the images in pixels. views: the fields of a recipe that say what is seen of them.
    """

    network: str
    batch: int
    stored: int = 32
    views: dict[str, Any] = field(default_factory=lambda: {"crop": 4, "flip": True})

    def recipe(self, precision: str) -> Recipe:
        """Return a recipe that never ends."""
        return Recipe(network=self.network, epochs=10**4, batch=self.batch, precision=precision, **self.views)

    @property
    def side(self) -> int:
        """Side of what the network sees, in pixels."""
        return self.recipe("fp32").seen(self.stored)

    def pixels(self) -> np.ndarray:
        """Return noise: uint8 [n, 3, stored, stored]."""
        shape = (BATCHES * self.batch, 3, self.stored, self.stored)
        return RNG.integers(256, size=shape, dtype=np.uint8)

    def built(self) -> networks.Network:
        """Return the network on the GPU, with fresh weights."""
        fresh = networks.build(
            self.network, channels=3, classes=CLASSES, resolution=self.side, generator_seed=0
        )
        return fresh.to("cuda").train()


PHOTOS = {"resized_crop": (0.08, 1.0), "flip": True, "side": 224}
PROBLEMS = (
    Problem(network="resnet18_cifar", batch=128),
    Problem(network="resnet18_cifar", batch=32),
    Problem(network="resnet50", batch=128, stored=256, views=PHOTOS),
    Problem(network="wrn_28_8", batch=128),
)
TINY_PROBLEMS = (Problem(network="cnn", batch=4, stored=8, views={"resized_crop": (0.5, 1.0), "flip": True}),)


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the time of a step of each loop, and how many times as fast it is as the loops before it."""
    rates = product_rates(session)
    for precision, rate in rates.items():
        yield {"finding": "matrix product", "precision": precision, "tflop_per_s": rate}
    for problem in TINY_PROBLEMS if session.rehearse else PROBLEMS:
        operations = gflop(ours(problem, "fp32", recorded=False))
        for precision, rate in rates.items():
            yield from compared(problem, precision, operations / rate, session)


def compared(problem: Problem, precision: str, floor: float, session: Session) -> Iterator[dict[str, Any]]:
    """Yield a finding for each loop in one precision.

    floor: the arithmetic floor of a step, in milliseconds.
    """
    measured = {"arithmetic floor": floor}
    about = {"network": problem.network, "side": problem.side, "batch": problem.batch, "precision": precision}
    for name, make in contestants(problem, precision, session).items():
        found = tried(timed, make, precision, session)
        if "ms" in found:
            found["images_per_s"] = 1e3 * problem.batch / found["ms"]
            found["times_as_fast_as"] = {other: ms / found["ms"] for other, ms in measured.items()}
            measured[name] = found["ms"]
        yield {"finding": "step", **about, "loop": name, **found}


def contestants(problem: Problem, precision: str, session: Session) -> dict[str, Callable[[], Step]]:
    """Return what makes a step of each loop. Each is made when it is its turn, to save memory."""
    workers = 1 if session.rehearse else max(1, len(os.sched_getaffinity(0)) - 2)
    loader = partial(loaded, problem, workers, pinned=not session.rehearse)
    mine = partial(ours, problem, precision)
    return {
        f"plain loop, {workers} workers": lambda: plain(problem, precision, loader()),
        "plain loop, one batch": lambda: plain(problem, precision, repeated([one_batch(problem)])),
        "network alone": lambda: alone(problem, precision),
        "ours, launched": partial(mine, recorded=False),
        "ours, recorded": partial(mine, recorded=True),
        "ours, recorded, with dynamics": partial(mine, recorded=True, dynamics=True),
    }


def ours(problem: Problem, precision: str, *, recorded: bool, dynamics: bool = False) -> Step:
    """Return a step of `prunebench.nn.training`.

    recorded: whether to replay a CUDA graph. dynamics: whether to record training dynamics.
    """
    images = Images(problem.pixels(), mean=MEAN, std=STD, device="cuda")
    labels = RNG.integers(CLASSES, size=len(images))
    index = np.arange(len(images))
    recipe = problem.recipe(precision)
    run = training._Run(images, labels, index, recipe, classes=CLASSES, rng=RNG, record=dynamics)
    run.made.recordable = recorded
    if run.recorder:
        run.recorder.epoch = 1  # the first epoch records less
    run.network.train()
    orders = repeated(torch.randperm(len(images), device="cuda").view(-1, problem.batch))
    return lambda: run.learn(next(orders))


def repeated(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches again and again. A DataLoader starts a new epoch each time."""
    while True:
        yield from batches


def one_batch(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalized images and their labels on the GPU."""
    images = torch.randn(problem.batch, 3, problem.side, problem.side, device="cuda")
    return images, torch.zeros(problem.batch, dtype=torch.int64, device="cuda")


def alone(problem: Problem, precision: str) -> Step:
    """Return a step of the network and SGD alone, as one CUDA graph."""
    network = problem.built().to(memory_format=torch.channels_last)
    optimizer = Sgd(network.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4)
    images, labels = one_batch(problem)
    images = images.to(memory_format=torch.channels_last)

    def step(_order: torch.Tensor, rate: float | torch.Tensor) -> torch.Tensor:
        network.zero_grad()
        with autocast(precision, "cuda"):
            logits = network(images)
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(rate)
        return loss.detach()

    order = torch.arange(problem.batch, device="cuda")
    rate = torch.full((), 0.1, device="cuda")
    with arithmetic(precision):
        for _ in range(replay.WARM):
            step(order, rate)
        recorded = replay.Replay(step, order, 1, torch.Generator("cuda"))
    return lambda: recorded(order, 0.1)


def plain(problem: Problem, precision: str, batches: Iterator[Any]) -> Step:
    """Return a step of a plain loop.

    batches: endless pairs of normalized images and labels.
    """
    network: nn.Module = problem.built()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> None:
        images, labels = next(batches)
        images = images.to("cuda", non_blocking=True)
        labels = labels.to("cuda", non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Noise, transformed one image at a time, as in tutorials."""

    def __init__(self, problem: Problem) -> None:
        from torchvision import transforms

        self.pixels = problem.pixels().transpose(0, 2, 3, 1)
        views = problem.views
        cropped: nn.Module
        if "resized_crop" in views:
            cropped = transforms.RandomResizedCrop(problem.side, scale=views["resized_crop"])
        else:
            cropped = transforms.RandomCrop(problem.side, padding=views["crop"], padding_mode="reflect")
        flipped = transforms.RandomHorizontalFlip()
        normalized = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose([cropped, flipped, *normalized])

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        picture = Image.fromarray(self.pixels[index % len(self.pixels)])
        return self.transform(picture), index % CLASSES


def loaded(problem: Problem, workers: int, pinned: bool) -> Iterator[Any]:
    """Return endless batches of a DataLoader, after those that its workers had ready at first.

    pinned: whether batches are in pinned memory, which a pretended GPU cannot have.
    """
    loader = DataLoader(
        Pictures(problem),
        batch_size=problem.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=True,
        multiprocessing_context="fork",  # as a script has it on Linux; a phase would start them much slower
        prefetch_factor=READY,
    )
    batches = repeated(loader)
    for _ in range(READY * workers):
        next(batches)
    return batches
