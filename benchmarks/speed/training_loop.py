"""Images per second of prunebench's training loop, compared with the usual loop and the network alone.

    python benchmarks/speed/training_loop.py [--cores 1] [--rounds 5] [--seconds 4]

The usual loop is a DataLoader over a dataset that transforms one image at a time, by torchvision's v2
transforms on tensors. It has the same network, batch, optimizer, schedule and augmentation. Its best number
of worker processes counts.

The network alone is trained on one fixed batch. No loop over the same network is much faster.

All contestants take turns and compute on one thread. A figure is the median over the rounds. With one core,
the workers of the DataLoader share it. With more cores they use the others, which prunebench would use for
another training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np
import torch
from tabulate import tabulate
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from prunebench import Images, Recipe
from prunebench.nn import networks, training
from prunebench.parts.registry import load

LIMIT = 12_800  # most images of an epoch: enough to measure a rate, few enough to wait for


class OneByOne(Dataset[tuple[torch.Tensor, int]]):
    """Images, transformed one at a time, as in most published code."""

    def __init__(self, images: Images, labels: np.ndarray, recipe: Recipe) -> None:
        steps: list[torch.nn.Module] = []
        if recipe.crop:
            mode = "constant" if recipe.padding == "zero" else recipe.padding
            steps.append(v2.RandomCrop(images.resolution, padding=recipe.crop, padding_mode=mode))
        if recipe.flip:
            steps.append(v2.RandomHorizontalFlip())
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(images.mean, images.std)]
        self.pixels = images[:]
        self.labels = labels.tolist()
        self.transform = v2.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pixels[index]), self.labels[index]


def network_and_optimizer(images: Images, recipe: Recipe) -> tuple[networks.Network, torch.optim.SGD]:
    """Return the network in the fastest memory layout, and its optimizer."""
    network = networks.build(
        recipe.network, channels=images.channels, classes=10, resolution=images.resolution, generator_seed=0
    )
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
    return network, optimizer


def usual(images: Images, labels: np.ndarray, recipe: Recipe, workers: int) -> Callable[[], int]:
    """Return a function that trains for one epoch in the usual way and returns the number of images."""
    data = OneByOne(images, labels, recipe)
    loader = DataLoader(data, recipe.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    network, optimizer = network_and_optimizer(images, recipe)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100_000)

    def epoch() -> int:
        for batch, target in loader:
            loss = functional.cross_entropy(network(batch.to(memory_format=torch.channels_last)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return len(data)

    return epoch


def ours(images: Images, labels: np.ndarray, recipe: Recipe, record: bool) -> Callable[[], int]:
    """Return a function that trains with prunebench's loop and returns the number of images.

    record: whether to record training dynamics.
    """
    epochs = max(1, LIMIT // len(images) // 2)  # a small dataset trains longer, so that set-up costs little
    long_recipe = replace(recipe, epochs=epochs)

    def train() -> int:
        rng = np.random.default_rng(0)
        training.train(images, labels, long_recipe, classes=10, rng=rng, device="cpu", record=record)
        return epochs * len(images)

    return train


def network_alone(images: Images, labels: np.ndarray, recipe: Recipe) -> Callable[[], int]:
    """Return a function that trains on one batch 20 times and returns the number of images."""
    network, optimizer = network_and_optimizer(images, recipe)
    batch = training.normalize(images[: recipe.batch], images.mean, images.std)
    target = torch.tensor(labels[: recipe.batch])

    def steps() -> int:
        for _ in range(20):
            loss = functional.cross_entropy(network(batch), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return 20 * len(batch)

    return steps


def rates(contestants: dict[str, Callable[[], int]], rounds: int, seconds: float) -> dict[str, float]:
    """Return images per second: the median over rounds in which the contestants take turns."""
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant()  # starts worker processes and chooses kernels
    for _ in range(rounds):
        for name, contestant in contestants.items():
            begin = time.perf_counter()
            images = 0
            while time.perf_counter() - begin < seconds:
                images += contestant()
            measured[name].append(images / (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in measured.items()}


def problems() -> Iterator[tuple[str, Images, np.ndarray, Recipe]]:
    """Yield each training problem: name, images, labels, recipe."""
    recipes = {
        "digits": Recipe(network="cnn", epochs=1, crop=1, padding="zero"),
        "fashion_mnist": Recipe(network="cnn", epochs=1, crop=2, padding="reflect", flip=True),
    }
    for name, recipe in recipes.items():
        dataset = load().dataset(name)
        array, labels = dataset.load(Path("data"), "train")
        yield name, Images(array[:LIMIT], mean=dataset.mean, std=dataset.std), labels[:LIMIT], recipe


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each contestant in each round")
    parser.add_argument(
        "--cores", type=int, default=1, help="number of cores for the process and its workers"
    )
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    torch.set_num_threads(1)
    body = []
    for name, images, labels, recipe in problems():
        contestants = {
            "ours": ours(images, labels, recipe, record=False),
            "ours, recording dynamics": ours(images, labels, recipe, record=True),
            "network alone": network_alone(images, labels, recipe),
        }
        for workers in range(options.cores + 1):
            contestants[f"usual, {workers} workers"] = usual(images, labels, recipe, workers)
        measured = rates(contestants, options.rounds, options.seconds)
        best_usual = max(rate for contestant, rate in measured.items() if contestant.startswith("usual"))
        for contestant, rate in measured.items():
            to_usual = rate / best_usual
            to_network = rate / measured["network alone"]
            body.append([name, contestant, f"{rate:.0f}", f"{to_usual:.2f}", f"{to_network:.2f}"])
    header = ["images", "loop", "images / s", "to the best usual loop", "to the network alone"]
    print(tabulate(body, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
