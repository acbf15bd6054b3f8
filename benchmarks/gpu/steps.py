"""Training steps of ResNet-18 at 32 pixels on a GPU: recorded, launched kernel by kernel, and a plain loop.

Usage: python benchmarks/gpu/steps.py [--seconds 1.5] [--workers 12] [--output steps.jsonl]

Prints one JSON line per measurement: milliseconds a step, and images per second. Needs a CUDA device; takes
about a minute.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from prunebench.nn import networks, training
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe

NETWORK = "resnet18_cifar"
SIDE, CLASSES, COUNT = 32, 10, 8192
GREY, SPREAD = (0.5,) * 3, (0.25,) * 3
GFLOP_PER_IMAGE = 3.33  # of a step: forward and backward, counted operation by operation
WARM_UP = 12
TOGETHER = 20  # steps between two waits for the device

RNG = np.random.default_rng(0)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Noise that is transformed one image at a time, as tutorials do."""

    def __init__(self) -> None:
        from torchvision import transforms

        self.pixels = RNG.integers(256, size=(50_000, SIDE, SIDE, 3), dtype=np.uint8)
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(GREY, SPREAD),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), index % CLASSES


def network() -> nn.Module:
    """Return the network that all loops train."""
    built = networks.build(NETWORK, channels=3, classes=CLASSES, resolution=SIDE, generator_seed=0)
    return built.to("cuda").train()


def ours(batch: int, precision: str, *, recorded: bool, dynamics: bool) -> Callable[[], None]:
    """Return a step of `prunebench.nn.training`."""
    pixels = RNG.integers(256, size=(COUNT, 3, SIDE, SIDE), dtype=np.uint8)
    images = Images(pixels, mean=GREY, std=SPREAD, device="cuda")
    recipe = Recipe(network=NETWORK, epochs=10**4, batch=batch, precision=precision, crop=4, flip=True)
    labels, index = RNG.integers(CLASSES, size=COUNT), np.arange(COUNT)
    run = training._Run(images, labels, index, recipe, classes=CLASSES, rng=RNG, record=dynamics)
    run.recordable = recorded
    if run.recorder:
        run.recorder.epoch = 1  # the first epoch records less
    run.network.train()
    batches = _batches(torch.randperm(COUNT, device="cuda").view(-1, batch))

    def step() -> None:
        run.learn(next(batches))

    return step


def _batches(orders: torch.Tensor) -> Iterator[torch.Tensor]:
    while True:
        yield from orders


def plain(batch: int, precision: str, batches: Iterator[Any], channels_last: bool) -> Callable[[], None]:
    """Return a step of a usual loop on batches from anywhere."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = network().to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> None:
        pictures, labels = next(batches)
        pictures = pictures.to("cuda", non_blocking=True).to(memory_format=layout)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = functional.cross_entropy(model(pictures), labels.to("cuda", non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def milliseconds(step: Callable[[], None], seconds: float) -> float:
    """Return how long a step takes."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(TOGETHER):
            step()
        torch.cuda.synchronize()
        steps += TOGETHER
    return (time.perf_counter() - begin) / steps * 1e3


def contestants(batch: int, workers: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield a name, a precision and a step of each loop."""
    options: dict[str, Any] = {"batch_size": batch, "shuffle": True, "drop_last": True, "pin_memory": True}
    fixed = torch.randn(batch, 3, SIDE, SIDE, device="cuda"), torch.zeros(batch, device="cuda").long()
    for precision in ("fp32", "bf16"):
        loader = DataLoader(Pictures(), num_workers=workers, persistent_workers=True, **options)
        endless = (pair for _ in iter(int, 1) for pair in loader)
        yield f"plain loop, {workers} workers", precision, plain(batch, precision, endless, False)
        yield (
            "plain loop, one fixed batch",
            precision,
            plain(batch, precision, iter(lambda: fixed, None), False),
        )
        yield "ours, launched", precision, ours(batch, precision, recorded=False, dynamics=False)
        yield "ours, recorded", precision, ours(batch, precision, recorded=True, dynamics=False)
        yield "ours, recorded, with dynamics", precision, ours(batch, precision, recorded=True, dynamics=True)


def main() -> None:
    """Measure all loops at the batch sizes of the paper's recipe: 128, and 32 from 90 % pruned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu/steps.py needs a CUDA device; this machine has none")
    torch.set_num_threads(1)
    lines = [json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()})]
    print(lines[0], flush=True)
    for batch in (128, 32):
        for name, precision, step in contestants(batch, asked.workers):
            took = milliseconds(step, asked.seconds)
            line = {"loop": name, "batch": batch, "precision": precision, "ms": round(took, 3)}
            line["images_per_s"] = round(batch / took * 1e3)
            line["tflop_per_s"] = round(GFLOP_PER_IMAGE * batch / took, 1)
            lines.append(json.dumps(line))
            print(lines[-1], flush=True)
    if asked.output:
        asked.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
