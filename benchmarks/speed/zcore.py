"""Microseconds of a round of ZCore, compared with the plain loop and with reading two columns.

    python benchmarks/speed/zcore.py [--images 5000 20000 50000] [--rounds 1024] [--turns 5] [--threads 2]
    python benchmarks/speed/zcore.py --large [1280000]

The plain loop is the published algorithm, rewritten from its definition. It stores embeddings by row, plays
every round on its own, and sorts all distances. The floor reads two columns twice and does nothing else.

With "same draws", both get the same dimensions and points, and their scores are compared. With "own draws",
each draws in its own way.

All contestants take turns. A figure is the median over the turns. Compiling and storing the embeddings by
column happen once and are reported separately.

--large measures 10,000 rounds on embeddings of the size of ImageNet, and the peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
from tabulate import tabulate

from prunebench_plugins.scorers.zcore import loop
from prunebench_plugins.scorers.zcore.part import Zcore

WIDTH, CLUSTERS = 1280, 100
PUBLISHED = Zcore()


def clusters(images: int) -> np.ndarray:
    """Return embeddings of overlapping clusters, float32 [images, 1280], made in place."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLUSTERS, WIDTH), dtype=np.float32)
    embeddings = np.empty((images, WIDTH), np.float32)
    for start in range(0, images, 4096):
        rows = embeddings[start : start + 4096]
        rng.standard_normal(out=rows, dtype=np.float32)
        rows += centers[rng.integers(CLUSTERS, size=len(rows))]
    return embeddings


def plain(embeddings: np.ndarray, rounds: loop.Rounds) -> np.ndarray:
    """Play the rounds one by one and return the scores, [n]. Each round sorts all distances."""
    scores = np.zeros(len(embeddings))
    for dimensions, point in zip(rounds.dimensions, rounds.points, strict=True):
        columns = embeddings[:, dimensions]
        best = np.abs(columns - point).sum(axis=1).argmin()
        scores[best] += 1
        gaps = np.abs(columns - columns[best]).sum(axis=1)
        nearest = np.argsort(gaps)[1 : PUBLISHED.neighbors + 1]
        if gaps[nearest[0]] == 0:
            scores[nearest[0]] -= 1
        else:
            weights = gaps[nearest] ** -PUBLISHED.exponent
            scores[nearest] -= weights / weights.sum()
    return scores


def plain_draws(space: loop.Space, rounds: int) -> loop.Rounds:
    """Draw the dimensions and the point of one round after another."""
    rng = np.random.default_rng(0)
    dimensions = np.empty((rounds, PUBLISHED.sample_dim), np.int64)
    points = np.empty(dimensions.shape)
    for number in range(rounds):
        chosen = rng.choice(len(space.columns), PUBLISHED.sample_dim, replace=False)
        dimensions[number] = chosen
        points[number] = rng.triangular(space.lowest[chosen], space.median[chosen], space.highest[chosen])
    tickets = np.zeros(rounds, np.int64)  # the plain loop takes the first of equally near images
    return loop.Rounds(dimensions=dimensions, points=points, tickets=tickets)


def ours(space: loop.Space, rounds: loop.Rounds, threads: int) -> np.ndarray:
    """Play the rounds as the scorer does and return the scores, [n]."""
    neighbors = min(PUBLISHED.neighbors, space.columns.shape[1] - 1)
    gained = loop.on_cpu(space.columns, rounds, neighbors, PUBLISHED.exponent, threads)
    return gained[space.places]


def surveyed(embeddings: np.ndarray) -> loop.Space:
    """Store the embeddings as the scorer does."""
    return loop.survey(embeddings, PUBLISHED.sample_dim, np.random.default_rng(0))


def own_draws(space: loop.Space, rounds: int) -> loop.Rounds:
    """Draw as the scorer does, all rounds at once."""
    return loop.draw(space, rounds, PUBLISHED.sample_dim, np.random.default_rng(0))


def floor(space: loop.Space, dimensions: np.ndarray) -> None:
    """Read the two columns of every round twice, by a dot product, whose time is all reading."""
    for first, second in dimensions:
        for _ in range(2):
            np.dot(space.columns[first], space.columns[second])


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU seconds and the wall seconds of an action."""
    cpu_begin = time.process_time()
    wall_begin = time.perf_counter()
    action()
    return time.process_time() - cpu_begin, time.perf_counter() - wall_begin


def compare(images: int, rounds: int, turns: int, threads: int) -> list[list[str]]:
    """Return the rows of the table for so many images. Print the cost of the steps that happen once."""
    embeddings = clusters(images)
    storing, _ = timed(lambda: surveyed(embeddings))
    space = surveyed(embeddings)
    draws = own_draws(space, rounds)
    block = loop.BLOCK
    compiling, _ = timed(lambda: ours(space, own_draws(space, 1), 1))
    difference = np.abs(plain(embeddings, draws) - ours(space, draws, threads)).max()
    once = f"by column {storing:.2f} CPU s, compiling {compiling:.2f} CPU s"
    print(f"{images} images: {once}; scores differ by {difference:.0e}")
    contestants: dict[str, tuple[int, Callable[[], object]]] = {  # name -> rounds, action
        "plain loop, same draws": (rounds, lambda: plain(embeddings, draws)),
        "ours, same draws, 1 thread": (rounds, lambda: ours(space, draws, 1)),
        "plain loop, own draws": (rounds, lambda: plain(embeddings, plain_draws(space, rounds))),
        "ours, own draws, 1 thread": (block, lambda: ours(space, own_draws(space, block), 1)),
        f"ours, own draws, {threads} threads": (block, lambda: ours(space, own_draws(space, block), threads)),
        "floor": (rounds, lambda: floor(space, draws.dimensions)),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, (count, action) in contestants.items():
            measured[name].append(tuple(1e6 * seconds / count for seconds in timed(action)))
    medians: dict[str, tuple[float, float]] = {}  # name -> CPU and wall microseconds of a round
    for name, times in measured.items():
        cpu_times, wall_times = zip(*times, strict=True)
        medians[name] = (statistics.median(cpu_times), statistics.median(wall_times))
    rows = []
    for name, (cpu, wall) in medians.items():
        plain_name = "plain loop, same draws" if "same" in name else "plain loop, own draws"
        plain_cpu, plain_wall = medians[plain_name]
        rows.append(
            [images, name, f"{cpu:.1f}", f"{plain_cpu / cpu:.1f}", f"{wall:.1f}", f"{plain_wall / wall:.1f}"]
        )
    return rows


def large(images: int, threads: int) -> None:
    """Measure 10,000 rounds on so many images, and print an estimate for a million rounds."""
    begin = time.perf_counter()
    embeddings = clusters(images)
    seconds = time.perf_counter() - begin
    print(f"{images} x {WIDTH}: {embeddings.nbytes / 2**30:.1f} GiB made in {seconds:.0f} s")
    begin = time.perf_counter()
    space = surveyed(embeddings)
    storing = time.perf_counter() - begin
    ours(space, own_draws(space, 1), 1)  # compiles
    draws = own_draws(space, 10_000)
    cpu, wall = timed(lambda: ours(space, draws, threads))
    few = draws[:10]
    plain_cpu, _ = timed(lambda: plain(embeddings, few))
    floor_cpu, _ = timed(lambda: floor(space, draws.dimensions[:500]))
    difference = np.abs(plain(embeddings, few) - ours(space, few, threads)).max()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"by column {storing:.0f} s; 10000 rounds on {threads} threads: {wall:.1f} s, {cpu:.1f} CPU s")
    print(f"so 1000000 rounds would take {storing + 100 * wall:.0f} s; peak memory {peak:.1f} GiB")
    print(
        f"CPU us of a round: {1e2 * cpu:.0f}, plain loop {1e5 * plain_cpu:.0f}, floor {2e3 * floor_cpu:.0f}"
    )
    print(f"scores of 10 rounds differ by {difference:.0e}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20_000, 50_000])
    parser.add_argument("--rounds", type=int, default=1024, help="of the plain loop in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", type=int, nargs="?", const=1_280_000, help="measure only this many images")
    options = parser.parse_args()
    if options.large:
        large(options.large, options.threads)
        return
    body = []
    for images in options.images:
        body += compare(images, options.rounds, options.turns, options.threads)
    header = ["images", "rounds", "CPU us", "fewer CPU s", "us", "faster"]
    print(tabulate(body, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
