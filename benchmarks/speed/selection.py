"""CPU seconds of selection, k-means and nearest neighbours, beside a plain restatement or scikit-learn.

    python benchmarks/speed/selection.py [--rounds 3] [draws centres kmeans neighbours graphs]

The contestants take turns on one thread; each figure is the median over the rounds of the CPU time of
the process, which other work on the machine lengthens less than it does the time on the clock.

draws       Beta and stratified selection, beside the published algorithms step by step in NumPy and SciPy
centres     k-center, beside one pass over all embeddings for each pick
kmeans      k-means, beside scikit-learn's
neighbours  nearest neighbours, beside scikit-learn's brute force
graphs      the picks of D2 and of facility location on a graph of 1.28 million images, beside nobody
"""

from __future__ import annotations

import argparse
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

from prunebench.nn.neighbours import kmeans, nearest
from prunebench.parts.artefacts import Array, Dynamics
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.d2 import compiled, densest_first
from prunebench_plugins.selectors.facility_location import UNIT, most_gained_first
from prunebench_plugins.selectors.k_center import KCenter
from prunebench_plugins.selectors.stratified import Stratified

Rng = np.random.Generator
Row = list[str]
IMAGENET = 1_280_000


@dataclass
class Turns:
    """What one contestant needed and returned, round by round."""

    seconds: list[float]
    results: list[Any]

    @property
    def median(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.seconds)


def contest(rounds: int, **contestants: Callable[[Rng], Any]) -> list[Turns]:
    """Call the contestants in turns, each with a generator of the round."""
    turns = [Turns([], []) for _ in contestants]
    for seed in range(rounds):
        for own, contestant in zip(turns, contestants.values(), strict=True):
            begin = time.process_time()
            own.results.append(contestant(np.random.default_rng(seed)))
            own.seconds.append(time.process_time() - begin)
    return turns


def row(name: str, size: str, ours: Turns, theirs: Turns, remark: str = "") -> Row:
    """Return a row of the table: both medians, and how many times as fast ours is."""
    ratio = theirs.median / ours.median
    return [name, size, f"{ours.median:.3f}", f"{theirs.median:.3f}", f"{ratio:.1f}", remark]


def clustered(n: int, width: int) -> Array:
    """Return embeddings float32 [n, width] of 100 overlapping groups, some images far from their centre."""
    rng = np.random.default_rng(0)
    middle = rng.standard_normal((100, width), dtype=np.float32)[rng.integers(100, size=n)]
    spread = rng.gamma(4, 0.25, size=(n, 1)).astype(np.float32)
    return middle + spread * rng.standard_normal((n, width), dtype=np.float32)


# Selection by scores


@dataclass
class Scored:
    """Scores of n images, and the probability of the label in each of 30 epochs, as the selectors get it."""

    scores: Array
    own: Array
    dynamics: Dynamics


def scored(n: int) -> Scored:
    """Return n random scores and probabilities."""
    rng = np.random.default_rng(0)
    own = rng.random((30, n), dtype=np.float32)
    watched = Dynamics(images=n, index=np.arange(n), **dict.fromkeys(Dynamics.series, own))
    return Scored(rng.random(n), own, watched)


def our_beta(given: Scored, keep: int, rng: Rng) -> Array:
    """Select by `beta`."""
    return Beta(pruned=1 - keep / len(given.scores)).select(given.scores, given.dynamics, keep, rng)


def plain_beta(given: Scored, keep: int, rng: Rng) -> Array:
    """Restate DUAL's sampler: the density from SciPy, the draw from NumPy."""
    mean = given.own.mean(axis=0, dtype=np.float64)
    anchor = mean[np.argsort(-given.scores)[:10]].mean()
    b = 15 * (1 - anchor) * (1 - (1 - keep / len(mean)) ** 4)
    weights = stats.beta.pdf(mean, 16 - b, b) * given.scores
    return rng.choice(len(mean), keep, replace=False, p=weights / weights.sum())


def our_stratified(given: Scored, keep: int, rng: Rng) -> Array:
    """Select by `stratified`."""
    return Stratified(cutoff=0.0).select(given.scores, keep, rng)


def plain_stratified(given: Scored, keep: int, rng: Rng) -> Array:
    """Restate CCS: for each of 50 strata a scan of all scores, twice, and a permutation of its images."""
    scores, low = given.scores, given.scores.min()
    step = (scores.max() * 1.0001 - low) / 50
    inside = [(low + k * step, low + (k + 1) * step) for k in range(50)]
    sizes = [int(np.sum((scores >= start) & (scores < stop))) for start, stop in inside]
    budgets, left = [0] * 50, keep
    for place, stratum in enumerate(np.argsort(sizes)):
        budgets[stratum] = min(sizes[stratum], left // (50 - place))
        left -= budgets[stratum]
    chosen = []
    for budget, (start, stop) in zip(budgets, inside, strict=True):
        members = np.flatnonzero((scores >= start) & (scores < stop))
        chosen.append(members[rng.permutation(len(members))[:budget]])
    return np.concatenate(chosen)


def draws(rounds: int) -> list[Row]:
    """Keep 10 and 70 % of 50,000 and of 1.28 million images."""
    rows = []
    for n in (50_000, IMAGENET):
        given = scored(n)
        for keep in (n // 10, n * 7 // 10):
            name = f"keep {keep / n:.0%}"
            ours, theirs = contest(
                rounds, ours=partial(our_beta, given, keep), theirs=partial(plain_beta, given, keep)
            )
            rows.append(row(f"beta, {name}", f"{n:,}", ours, theirs))
            ours, theirs = contest(
                rounds,
                ours=partial(our_stratified, given, keep),
                theirs=partial(plain_stratified, given, keep),
            )
            rows.append(row(f"stratified, {name}", f"{n:,}", ours, theirs))
    return rows


# Embeddings


def our_centres(vectors: Array, rng: Rng) -> list[int]:
    """Keep 1,000 by `k_center`."""
    return KCenter().select(vectors, 1000, rng, "cpu", lambda done, total: None).tolist()


def plain_centres(vectors: Array, rng: Rng) -> list[int]:
    """Keep 1,000, with one pass over all embeddings for each."""
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


def centres(rounds: int) -> list[Row]:
    """Keep 1,000 of 10,000 and of 50,000 embeddings of 512 numbers."""
    rows = []
    for n in (10_000, 50_000):
        vectors = clustered(n, 512)
        ours, theirs = contest(
            rounds, ours=partial(our_centres, vectors), theirs=partial(plain_centres, vectors)
        )
        same = (
            np.mean([len(set(a) & set(b)) for a, b in zip(ours.results, theirs.results, strict=True)]) / 1000
        )
        remark = f"{same:.2%} the same"
        rows.append(row("k_center, keep 1,000", f"{n:,} x 512", ours, theirs, remark))
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


def our_neighbours(vectors: Array, rng: Rng) -> Array:
    """Return the 10 nearest of each."""
    return nearest(vectors, 10, metric="euclidean")[0]


def their_neighbours(vectors: Array, rng: Rng) -> Array:
    """Return scikit-learn's 10 nearest of each."""
    return NearestNeighbors(n_neighbors=10, algorithm="brute").fit(vectors).kneighbors(return_distance=False)


def neighbours(rounds: int) -> list[Row]:
    """Find the 10 nearest of each of 5,000, 20,000 and 50,000 embeddings of 512 numbers."""
    rows = []
    for n in (5_000, 20_000, 50_000):
        vectors = clustered(n, 512)
        ours, theirs = contest(
            rounds, ours=partial(our_neighbours, vectors), theirs=partial(their_neighbours, vectors)
        )
        same = np.mean(np.sort(ours.results[0], axis=1) == np.sort(theirs.results[0], axis=1))
        rows.append(row("nearest, k = 10", f"{n:,} x 512", ours, theirs, f"{same:.3%} the same"))
    return rows


# Graphs


def graphs(rounds: int) -> list[Row]:
    """Pick 10 and 70 % of 1.28 million images, with ten neighbours each at random places."""
    rng = np.random.default_rng(0)
    near = np.sort(rng.integers(IMAGENET, size=(IMAGENET, 10)), axis=1)
    directed = csr_array(
        (rng.uniform(1, 4, near.size), near.ravel(), np.arange(0, near.size + 1, 10)),
        shape=(IMAGENET, IMAGENET),
    )
    graph = directed.maximum(directed.T.tocsr())
    edges = (graph.indptr, graph.indices)
    fading, density = np.exp(-0.1 * graph.data), rng.random(IMAGENET)
    likeness = np.rint(UNIT * (1 - graph.data / 4)).astype(np.int64)

    def d2(keep: int, rng: Rng) -> Array:
        return compiled(densest_first)(*edges, fading, density.copy(), keep)

    def facility(keep: int, rng: Rng) -> Array:
        return compiled(most_gained_first)(*edges, likeness, UNIT, keep)

    rows = []
    for keep in (0, IMAGENET // 10, IMAGENET * 7 // 10):
        found = contest(rounds if keep else 1, d2=partial(d2, keep), facility=partial(facility, keep))
        what = f"pick {keep / IMAGENET:.0%}" if keep else "compiling, once a process"
        for name, own in zip(("d2", "facility_location"), found, strict=True):
            rows.append([f"{name}, {what}", f"{IMAGENET:,}" if keep else "", f"{own.median:.3f}", "", "", ""])
    return rows


PARTS = {"draws": draws, "centres": centres, "kmeans": clusters, "neighbours": neighbours, "graphs": graphs}


def main() -> None:
    """Measure what was asked for, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"no part named {unknown[0]!r}. Known: {', '.join(PARTS)}.")
    torch.set_num_threads(1)
    rows = [entry for name in options.parts or PARTS for entry in PARTS[name](options.rounds)]
    header = ["what", "images", "ours, CPU s", "theirs, CPU s", "times as fast", ""]
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
