"""CPU seconds of selection, k-means and nearest neighbors, compared with plain code or scikit-learn.

    python benchmarks/speed/selection.py [--rounds 3] [draws centers kmeans neighbors graphs]

The contestants take turns on one thread. A figure is the median CPU time over the rounds. Other work on the
machine disturbs CPU time less than wall time. The exponent is that of our time from the smaller size on.

draws       Beta and stratified selection, compared with the published algorithms in NumPy and SciPy
centers     k-center, compared with one pass over all embeddings for each pick; herding, alone
kmeans      k-means, compared with scikit-learn's
neighbors   nearest neighbors, compared with scikit-learn's brute force
graphs      the picks of D2 and of facility location on a graph of 1.28 million images, alone
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import torch
from scipy import stats
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from tabulate import tabulate

from prunebench.nn.neighbors import kmeans, nearest
from prunebench.parts.artefacts import Array, Dynamics
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.d2 import densest_first
from prunebench_plugins.selectors.facility_location import UNIT, most_gained_first
from prunebench_plugins.selectors.herding import Herding
from prunebench_plugins.selectors.k_center import KCenter
from prunebench_plugins.selectors.neighbor_graph import compiled
from prunebench_plugins.selectors.stratified import Stratified

Rng = np.random.Generator
Row = list[str]
IMAGENET = 1_280_000


@dataclass
class Turns:
    """The CPU seconds and the results of one contestant, round by round."""

    seconds: list[float]
    results: list[Any]

    @property
    def median(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.seconds)


def contest(rounds: int, **contestants: Callable[[Rng], Any]) -> list[Turns]:
    """Call the contestants in turns. In each round all get a generator of the same seed."""
    all_turns = [Turns([], []) for _ in contestants]
    for seed in range(rounds):
        for turns, contestant in zip(all_turns, contestants.values(), strict=True):
            begin = time.process_time()
            turns.results.append(contestant(np.random.default_rng(seed)))
            turns.seconds.append(time.process_time() - begin)
    return all_turns


def row(name: str, size: str, ours: Turns, theirs: Turns, remark: str = "") -> Row:
    """Return a row of the table: both medians, and their ratio."""
    ratio = theirs.median / ours.median
    return [name, size, f"{ours.median:.3f}", f"{theirs.median:.3f}", f"{ratio:.1f}", remark]


def clustered(n: int, width: int) -> Array:
    """Return embeddings of 100 overlapping groups, float32 [n, width]. Some are far from their center."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((100, width), dtype=np.float32)[rng.integers(100, size=n)]
    spread = rng.gamma(4, 0.25, size=(n, 1)).astype(np.float32)
    return centers + spread * rng.standard_normal((n, width), dtype=np.float32)


# Selection by scores


@dataclass
class Scored:
    """The input of the selectors.

    scores: float64 [n].
    label_probability: float32 [30, n], by epoch.
    dynamics: holds `label_probability`.
    """

    scores: Array
    label_probability: Array
    dynamics: Dynamics


def scored(n: int) -> Scored:
    """Return n random scores and probabilities."""
    rng = np.random.default_rng(0)
    label_probability = rng.random((30, n), dtype=np.float32)
    series = dict.fromkeys(Dynamics.series, label_probability)
    dynamics = Dynamics(images=n, index=np.arange(n), **series)
    return Scored(rng.random(n), label_probability, dynamics)


def our_beta(images: Scored, keep: int, rng: Rng) -> Array:
    """Select by `beta`."""
    return Beta(pruned=1 - keep / len(images.scores)).select(images.scores, images.dynamics, keep, rng)


def plain_beta(images: Scored, keep: int, rng: Rng) -> Array:
    """Select by DUAL's sampler, rewritten with SciPy's density and NumPy's draw."""
    mean = images.label_probability.mean(axis=0, dtype=np.float64)
    anchor = mean[np.argsort(-images.scores)[:10]].mean()
    b = 15 * (1 - anchor) * (1 - (1 - keep / len(mean)) ** 4)
    weights = stats.beta.pdf(mean, 16 - b, b) * images.scores
    return rng.choice(len(mean), keep, replace=False, p=weights / weights.sum())


def our_stratified(images: Scored, keep: int, rng: Rng) -> Array:
    """Select by `stratified`."""
    return Stratified(cutoff=0.0).select(images.scores, keep, rng)


def plain_stratified(images: Scored, keep: int, rng: Rng) -> Array:
    """Select by CCS, rewritten: each of 50 strata scans all scores twice and permutes its images."""
    scores = images.scores
    low = scores.min()
    step = (scores.max() * 1.0001 - low) / 50
    strata = [(low + k * step, low + (k + 1) * step) for k in range(50)]
    sizes = [int(np.sum((scores >= start) & (scores < stop))) for start, stop in strata]
    budgets = [0] * 50
    remaining = keep
    # From the smallest stratum on: the others share its unused budget.
    for rank, stratum in enumerate(np.argsort(sizes)):
        budgets[stratum] = min(sizes[stratum], remaining // (50 - rank))
        remaining -= budgets[stratum]
    chosen = []
    for budget, (start, stop) in zip(budgets, strata, strict=True):
        members = np.flatnonzero((scores >= start) & (scores < stop))
        chosen.append(members[rng.permutation(len(members))[:budget]])
    return np.concatenate(chosen)


def draws(rounds: int) -> list[Row]:
    """Keep 10 and 70 % of 50,000 and of 1.28 million images."""
    rows = []
    for n in (50_000, IMAGENET):
        images = scored(n)
        for keep in (n // 10, n * 7 // 10):
            name = f"keep {keep / n:.0%}"
            ours, theirs = contest(
                rounds, ours=partial(our_beta, images, keep), theirs=partial(plain_beta, images, keep)
            )
            rows.append(row(f"beta, {name}", f"{n:,}", ours, theirs))
            ours, theirs = contest(
                rounds,
                ours=partial(our_stratified, images, keep),
                theirs=partial(plain_stratified, images, keep),
            )
            rows.append(row(f"stratified, {name}", f"{n:,}", ours, theirs))
    return rows


# Embeddings


def our_centers(vectors: Array, rng: Rng) -> list[int]:
    """Keep 1,000 images by `k_center`."""
    return KCenter().select(vectors, 1000, rng, "cpu", lambda done, total: None).tolist()


def plain_centers(vectors: Array, rng: Rng) -> list[int]:
    """Keep 1,000 images, with one pass over all embeddings for each."""
    chosen = [int(rng.permutation(len(vectors))[0])]
    points = torch.tensor(vectors - vectors.mean(axis=0))
    lengths = points.square().sum(1)
    gaps = torch.full((len(points),), torch.inf)
    while len(chosen) < 1000:
        last = chosen[-1]
        gaps = gaps.minimum(lengths - 2 * (points @ points[last]) + lengths[last])
        gaps[last] = -1
        chosen.append(int(gaps.argmax()))
    return chosen


def our_herd(vectors: Array, rng: Rng) -> Array:
    """Keep 1,000 images by `herding`."""
    return Herding().select(vectors, 1000, rng, "cpu", lambda done, total: None)


def centers(rounds: int) -> list[Row]:
    """Keep 1,000 of 10,000 and of 50,000 embeddings of 512 numbers by k-center and by herding."""
    rows = []
    for n in (10_000, 50_000):
        vectors = clustered(n, 512)
        ours, theirs = contest(
            rounds, ours=partial(our_centers, vectors), theirs=partial(plain_centers, vectors)
        )
        common = []
        for our_result, their_result in zip(ours.results, theirs.results, strict=True):
            common.append(len(set(our_result) & set(their_result)))
        remark = f"{np.mean(common) / 1000:.2%} the same"
        rows.append(row("k_center, keep 1,000", f"{n:,} x 512", ours, theirs, remark))
        (alone,) = contest(rounds, ours=partial(our_herd, vectors))
        rows.append(["herding, keep 1,000", f"{n:,} x 512", f"{alone.median:.3f}", "", "", ""])
    return rows


def our_clusters(vectors: Array, rng: Rng) -> float:
    """Return the inertia of 100 clusters from one start."""
    return kmeans(vectors, 100, rng=rng, starts=1).inertia


def their_clusters(vectors: Array, rng: Rng) -> float:
    """Return the inertia of scikit-learn's 100 clusters from one start."""
    return float(KMeans(100, n_init=1, random_state=int(rng.integers(2**31))).fit(vectors).inertia_)


def clusters(rounds: int) -> list[Row]:
    """Find 100 clusters of 5,000, 20,000 and 50,000 embeddings of 1,280 numbers."""
    rows = []
    for n in (5_000, 20_000, 50_000):
        vectors = clustered(n, 1280)
        ours, theirs = contest(
            rounds, ours=partial(our_clusters, vectors), theirs=partial(their_clusters, vectors)
        )
        inertia = statistics.median(ours.results) / statistics.median(theirs.results)
        rows.append(
            row("k-means, k = 100", f"{n:,} x 1280", ours, theirs, f"inertia {inertia:.4f} of theirs")
        )
    return rows


def our_neighbors(vectors: Array, rng: Rng) -> Array:
    """Return the 10 nearest neighbors of each vector."""
    return nearest(vectors, 10, metric="euclidean")[0]


def their_neighbors(vectors: Array, rng: Rng) -> Array:
    """Return scikit-learn's 10 nearest neighbors of each vector."""
    return NearestNeighbors(n_neighbors=10, algorithm="brute").fit(vectors).kneighbors(return_distance=False)


def neighbors(rounds: int) -> list[Row]:
    """Find the 10 nearest neighbors of each of 5,000, 20,000 and 50,000 embeddings of 512 numbers."""
    rows = []
    for n in (5_000, 20_000, 50_000):
        vectors = clustered(n, 512)
        ours, theirs = contest(
            rounds, ours=partial(our_neighbors, vectors), theirs=partial(their_neighbors, vectors)
        )
        same = np.mean(np.sort(ours.results[0], axis=1) == np.sort(theirs.results[0], axis=1))
        rows.append(row("nearest, k = 10", f"{n:,} x 512", ours, theirs, f"{same:.3%} the same"))
    return rows


# Graphs


def graphs(rounds: int) -> list[Row]:
    """Pick 10 and 70 % of 1.28 million images with ten random neighbors each."""
    rng = np.random.default_rng(0)
    near = np.sort(rng.integers(IMAGENET, size=(IMAGENET, 10)), axis=1)
    directed = csr_array(
        (rng.uniform(1, 4, near.size), near.ravel(), np.arange(0, near.size + 1, 10)),
        shape=(IMAGENET, IMAGENET),
    )
    graph = directed.maximum(directed.T.tocsr())
    edges = (graph.indptr, graph.indices)
    edge_weights = np.exp(-0.1 * graph.data)
    density = rng.random(IMAGENET)
    similarity = np.rint(UNIT * (1 - graph.data / 4)).astype(np.int64)

    def d2(keep: int, rng: Rng) -> Array:
        return compiled(densest_first)(*edges, edge_weights, density.copy(), keep)

    def facility_location(keep: int, rng: Rng) -> Array:
        return compiled(most_gained_first)(*edges, similarity, UNIT, keep)

    contestants = {"d2": d2, "facility_location": facility_location}
    rows = []
    # Keeping nothing only compiles.
    for keep in (0, IMAGENET // 10, IMAGENET * 7 // 10):
        bound = {name: partial(contestant, keep) for name, contestant in contestants.items()}
        all_turns = contest(rounds if keep else 1, **bound)
        title = f"pick {keep / IMAGENET:.0%}" if keep else "compiling, once a process"
        size = f"{IMAGENET:,}" if keep else ""
        for name, turns in zip(contestants, all_turns, strict=True):
            rows.append([f"{name}, {title}", size, f"{turns.median:.3f}", "", "", ""])
    return rows


def with_exponents(rows: list[Row]) -> list[Row]:
    """Return rows with the exponent of our time after it, where the same is there at a smaller size, too."""
    before: dict[str, tuple[float, float]] = {}
    found = []
    for name, size, ours, *more in rows:
        exponent = ""
        if size:
            now = (float(size.split()[0].replace(",", "")), float(ours))
            if name in before:
                growth = [math.log(new / old) for new, old in zip(now, before[name], strict=True)]
                exponent = f"{growth[1] / growth[0]:.2f}"
            before[name] = now
        found.append([name, size, ours, exponent, *more])
    return found


PARTS = {"draws": draws, "centers": centers, "kmeans": clusters, "neighbors": neighbors, "graphs": graphs}


def main() -> None:
    """Measure the chosen parts, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"no part named {unknown[0]!r}. Known: {', '.join(PARTS)}.")
    torch.set_num_threads(1)
    rows = [entry for name in options.parts or PARTS for entry in PARTS[name](options.rounds)]
    header = ["what", "images", "ours, CPU s", "exponent", "theirs, CPU s", "times as fast", ""]
    print(tabulate(with_exponents(rows), header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
