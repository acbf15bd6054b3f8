"""CPU time of work on images, with one heap that keeps freed memory, and as the C library does it by itself.

    python benchmarks/speed/heap.py [--rounds 3]

Each figure is of a process of its own. The two ways take turns. A figure is the median of the rounds.

embed       EfficientNet-Lite0 looks at 512 photos of 224 pixels, in a thread for each core
supervised  a ResNet of 8 layers trains on images of 32 pixels, in batches of 128
fixmatch    the same network trains, on 32 labeled images and twice 224 others at a time
wide        FixMatch trains a WRN-28-2 so
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from tabulate import tabulate

from prunebench.nn.training import train
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe
from prunebench.system.heap import freed_memory_kept, share_one_heap
from prunebench_plugins.backbones.efficientnet import EfficientnetLite0
from prunebench_plugins.labelers.fixmatch.part import FixMatch

CLASSES = tuple("abcdefghij")


def noise(count: int, side: int) -> Images:
    """Return color images without meaning."""
    pixels = np.random.default_rng(0).integers(256, size=(count, 3, side, side), dtype=np.uint8)
    return Images(pixels, mean=(0.5,) * 3, std=(0.25,) * 3)


def embed() -> None:
    """Look at photos."""
    EfficientnetLite0().embed(noise(512, 224), "cpu", lambda done, total: None, MemoryCheckpoint())


def supervised() -> None:
    """Train on 5,000 images, three times each."""
    recipe = Recipe(network="resnet8_stride2", epochs=3, crop=4, flip=True)
    labels = np.arange(5000) % len(CLASSES)
    train(noise(5000, 32), labels, recipe, classes=len(CLASSES), rng=np.random.default_rng(0), device="cpu")


def fixmatch(network: str, steps: int) -> None:
    """Train for some steps, with one label in ten."""
    labels = np.arange(5000) % len(CLASSES)
    labels[500:] = -1
    FixMatch(network=network, iterations=steps, batch=32, mu=7).label(
        noise(5000, 32),
        CLASSES,
        labels,
        np.random.default_rng(0),
        "cpu",
        lambda done, total: None,
        MemoryCheckpoint(),
    )


WORK: dict[str, Callable[[], None]] = {
    "embed": embed,
    "supervised": supervised,
    "fixmatch": lambda: fixmatch("resnet8_stride2", 60),
    "wide": lambda: fixmatch("wrn_28_2", 6),
}


def measure(name: str, kept: bool) -> dict[str, float]:
    """Do the work in this process. Return its CPU seconds, its page faults, and the process's peak memory."""
    torch.set_num_threads(1)
    if kept:
        share_one_heap()
    before = resource.getrusage(resource.RUSAGE_SELF)
    with freed_memory_kept() if kept else nullcontext():
        WORK[name]()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "faults": after.ru_minflt - before.ru_minflt,
        "megabytes": after.ru_maxrss / 1024,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, kept = arguments.one
        print(json.dumps(measure(name, kept == "kept")))
        return
    rows = []
    for name in WORK:
        ways: dict[str, list[dict[str, float]]] = {"given back": [], "kept": []}
        for _ in range(arguments.rounds):
            for way, found in ways.items():
                command = [sys.executable, __file__, "--one", name, way]
                found.append(json.loads(subprocess.check_output(command)))
        medians = {
            way: {key: statistics.median(one[key] for one in found) for key in found[0]}
            for way, found in ways.items()
        }
        for way, median in medians.items():
            seconds = median["user"] + median["system"]
            usual = medians["given back"]["user"] + medians["given back"]["system"]
            rows.append(
                [
                    name,
                    way,
                    f"{seconds:.1f}",
                    f"{median['system'] / seconds:.0%}",
                    f"{median['faults']:,.0f}",
                    f"{median['megabytes']:,.0f}",
                    f"{usual / seconds:.2f}",
                ]
            )
    print(
        tabulate(
            rows,
            headers=[
                "work",
                "freed memory",
                "CPU s",
                "in the system",
                "page faults",
                "peak MB",
                "times as fast",
            ],
            tablefmt="github",
            disable_numparse=True,
        )
    )


if __name__ == "__main__":
    main()
