"""Times training steps of ResNet-18 at 32 pixels on a GPU: our loop, and a plain loop in PyTorch.

"Recorded" steps replay a CUDA graph. "Launched" steps launch each kernel.

Usage: python benchmarks/gpu/steps.py [--seconds 1.5] [--workers 12] [--output steps.jsonl]

Prints one JSON line per measurement: milliseconds a step, and images per second. Needs a CUDA device; takes
about a minute.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
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
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
GFLOP_PER_IMAGE = 3.33  # of a step: forward and backward, counted operation by operation
WARM_UP = 12  # steps
STEPS_PER_WAIT = 20  # steps between two waits for the device

RNG = np.random.default_rng(0)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Noise, transformed one image at a time, as in tutorials."""

    def __init__(self) -> None:
        from torchvision import transforms

        self.pixels = RNG.integers(256, size=(50_000, SIDE, SIDE, 3), dtype=np.uint8)
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), index % CLASSES


def network() -> nn.Module:
    """Return the network that all loops train."""
    fresh = networks.build(NETWORK, channels=3, classes=CLASSES, resolution=SIDE, generator_seed=0)
    return fresh.to("cuda").train()


def ours(batch: int, precision: str, *, recorded: bool, dynamics: bool) -> Callable[[], None]:
    """Return a step of `prunebench.nn.training`.

    batch: images per step.
    precision: "fp32" or "bf16".
    recorded: whether to replay a CUDA graph.
    dynamics: whether to record training dynamics.
    """
    pixels = RNG.integers(256, size=(COUNT, 3, SIDE, SIDE), dtype=np.uint8)
    images = Images(pixels, mean=MEAN, std=STD, device="cuda")
    recipe = Recipe(network=NETWORK, epochs=10**4, batch=batch, precision=precision, crop=4, flip=True)
    labels = RNG.integers(CLASSES, size=COUNT)
    index = np.arange(COUNT)
    run = training._Run(images, labels, index, recipe, classes=CLASSES, rng=RNG, record=dynamics)
    run.recordable = recorded
    if run.recorder:
        run.recorder.epoch = 1  # the first epoch records less
    run.network.train()
    batches = _repeat(torch.randperm(COUNT, device="cuda").view(-1, batch))

    def step() -> None:
        run.learn(next(batches))

    return step


def _repeat(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches again and again. A DataLoader starts a new epoch each time."""
    while True:
        yield from batches


def plain(precision: str, batches: Iterator[Any], channels_last: bool) -> Callable[[], None]:
    """Return a step of a plain loop.

    precision: "fp32" or "bf16".
    batches: endless pairs of images and labels.
    channels_last: memory layout of the network and the images.
    """
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
    """Return the milliseconds of a step, measured for so many seconds."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    steps = 0
    while time.perf_counter() - begin < seconds:
        for _ in range(STEPS_PER_WAIT):
            step()
        torch.cuda.synchronize()
        steps += STEPS_PER_WAIT
    return (time.perf_counter() - begin) / steps * 1e3


def contestants(batch: int, workers: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield a name, a precision and a step of each loop. Each is made when it is its turn, to save memory."""
    options: dict[str, Any] = {"batch_size": batch, "shuffle": True, "drop_last": True, "pin_memory": True}
    pictures = torch.randn(batch, 3, SIDE, SIDE, device="cuda")
    labels = torch.zeros(batch, device="cuda").long()
    for precision in ("fp32", "bf16"):
        loader = DataLoader(Pictures(), num_workers=workers, persistent_workers=True, **options)
        yield f"plain loop, {workers} workers", precision, plain(precision, _repeat(loader), False)
        one_batch = _repeat([(pictures, labels)])
        yield "plain loop, one fixed batch", precision, plain(precision, one_batch, False)
        yield "ours, launched", precision, ours(batch, precision, recorded=False, dynamics=False)
        yield "ours, recorded", precision, ours(batch, precision, recorded=True, dynamics=False)
        yield "ours, recorded, with dynamics", precision, ours(batch, precision, recorded=True, dynamics=True)


def main() -> None:
    """Measure all loops at the batch sizes of the paper's recipe: 128, or 32 if 90 % or more are pruned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--workers", type=int, default=12, help="of the DataLoader")
    parser.add_argument("--output", type=Path, help="file for the JSON lines")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu/steps.py needs a CUDA device; this machine has none")
    torch.set_num_threads(1)
    lines = [json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()})]
    print(lines[0], flush=True)
    for batch in (128, 32):
        for name, precision, step in contestants(batch, arguments.workers):
            ms = milliseconds(step, arguments.seconds)
            line = {"loop": name, "batch": batch, "precision": precision, "ms": round(ms, 3)}
            line["images_per_s"] = round(batch / ms * 1e3)
            line["tflop_per_s"] = round(GFLOP_PER_IMAGE * batch / ms, 1)
            lines.append(json.dumps(line))
            print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
