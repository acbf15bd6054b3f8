"""CPU time of work on embeddings, with the products of wide vectors by oneDNN, and all by PyTorch itself.

    python benchmarks/speed/products.py [--rounds 5]

One thread. The two ways take turns. A figure is the median of the rounds.

product      512 vectors by 200 others, of 1,280 numbers, a hundred times
head         a linear head of 200 classes trains for 40 steps of 512 embeddings
neighbors    the 50 nearest of each of 10,000 embeddings
temi         TEMI trains for an epoch on 10,000 embeddings, at 200 clusters
extrapolate  the graph network of Score Extrapolation trains for two epochs on them, from scores of a tenth
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from tabulate import tabulate

from prunebench.nn import products
from prunebench.nn.neighbors import nearest
from prunebench.nn.training import train
from prunebench.parts.images import Vectors
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe
from prunebench.system.heap import freed_memory_kept
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.scorers.score_extrapolation.graph import learn
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation

CLASSES = tuple(map(str, range(200)))
EMBEDDINGS = np.random.default_rng(0).standard_normal((10_000, 1280), dtype=np.float32)
ROWS = torch.tensor(EMBEDDINGS[:512])
COLUMNS = torch.tensor(EMBEDDINGS[512:712])


def product() -> None:
    """Multiply."""
    for _ in range(100):
        products.linear(ROWS, COLUMNS, None)


def head() -> None:
    """Train on the embeddings, twice each."""
    recipe = Recipe(network="linear", epochs=2, batch=512, lr=0.01)
    labels = np.arange(len(EMBEDDINGS)) % len(CLASSES)
    rng = np.random.default_rng(0)
    train(Vectors(EMBEDDINGS), labels, recipe, classes=len(CLASSES), rng=rng, device="cpu")


def neighbors() -> None:
    """Find neighbors of all embeddings."""
    nearest(EMBEDDINGS, 50, metric="euclidean")


def temi() -> None:
    """Cluster the embeddings, for one epoch."""
    Temi(heads=8, hidden=128, bottleneck=64, epochs=1, warmup_epochs=0).label(
        EMBEDDINGS,
        CLASSES,
        np.random.default_rng(0),
        "cpu",
        lambda done, total: None,
        MemoryCheckpoint(),
    )


def extrapolate() -> None:
    """Train the graph network, on random neighbors."""
    rng = np.random.default_rng(0)
    scored = len(EMBEDDINGS) // 10
    learn(
        EMBEDDINGS,
        rng.integers(len(EMBEDDINGS), size=(len(EMBEDDINGS), 10)),
        rng.random((len(EMBEDDINGS), 10)),
        np.arange(scored),
        rng.random(scored),
        ScoreExtrapolation(epochs=2),
        rng=rng,
        device="cpu",
        progress=lambda done, total: None,
    )


WORK: dict[str, Callable[[], None]] = {
    "product": product,
    "head": head,
    "neighbors": neighbors,
    "temi": temi,
    "extrapolate": extrapolate,
}


def measure(work: Callable[[], None], width: int) -> float:
    """Do the work, with products of vectors of `width` numbers or more by oneDNN. Return its CPU seconds."""
    products.WIDTH = width
    begin = time.process_time()
    with freed_memory_kept():
        work()
    return time.process_time() - begin


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    ways = {"PyTorch": sys.maxsize, "oneDNN": products.WIDTH}
    rows = []
    for name, work in WORK.items():
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, width in ways.items():
                found[way].append(measure(work, width))
        usual, ours = (statistics.median(seconds) for seconds in found.values())
        rows.append([name, f"{usual:.2f}", f"{ours:.2f}", f"{usual / ours:.2f}"])
    headers = ["work", "PyTorch, CPU s", "oneDNN, CPU s", "times as fast"]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
