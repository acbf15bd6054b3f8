"""CPU seconds of extrapolating scores to all images, compared with the published loop over neighborhoods.

    python benchmarks/speed/extrapolation.py [--images 5000 20000] [--epochs 3] [--whole]

Images have embeddings of 512 numbers, in 100 overlapping clusters. A tenth of them have scores.

Ours: five steps an epoch on all scored images at once, as products with sparse matrices.
Published: batches of 128 images with their neighbors and the neighbors of these. The layers store every
message. After each epoch it predicts all images, each with its neighbors, in batches of 1024. It is rewritten
here from its description, around the layers of torch-geometric.

The same layers on the whole graph show the gain from our sparse products alone.

All run on one thread. The time of a training is 35 times the median over `--epochs` epochs. The graph, which
both need, is measured separately. --whole trains for all 35 epochs and compares the predictions with the
truth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np
import torch
from scipy.stats import spearmanr
from tabulate import tabulate
from torch.nn import functional

from prunebench.nn.neighbors import nearest
from prunebench_plugins.scorers.score_extrapolation import graph
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation

WIDTH, LATENT, CLUSTERS = 512, 16, 100
EPOCHS, BATCH, PREDICTION_BATCH = 35, 128, 1024
PUBLISHED = ScoreExtrapolation()


@dataclass(frozen=True)
class Problem:
    """A problem of extrapolation.

    embeddings: float32 [n, 512].
    seeds: int [n / 10], the images with a score.
    truth: float64 [n], the score of every image.
    """

    embeddings: np.ndarray
    seeds: np.ndarray
    truth: np.ndarray


def problem(images: int) -> Problem:
    """Return a problem of so many images.

    Embeddings are the positive parts of mixtures of 16 numbers. As among the features of a network, nearly
    every image is a neighbor of another one. The score is the distance to the origin plus noise.
    """
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLUSTERS, LATENT))
    latent = centers[rng.integers(CLUSTERS, size=images)] + rng.normal(size=(images, LATENT)) / 2
    embeddings = np.maximum(latent @ rng.normal(size=(LATENT, WIDTH)), 0).astype(np.float32) / 16
    truth = np.linalg.norm(latent, axis=1) + rng.normal(0, 0.2, images)
    seeds = np.sort(rng.permutation(images)[: images // 10])
    return Problem(embeddings, seeds, truth)


class Clock:
    """Records the CPU time at the end of each epoch."""

    def __init__(self) -> None:
        self.ends = [time.process_time()]

    def __call__(self, *_progress: int) -> None:
        """End an epoch."""
        self.ends.append(time.process_time())

    @property
    def epoch(self) -> float:
        """Median CPU seconds of an epoch. The first also sets up, so it counts only if it is the only one."""
        lengths = np.diff(self.ends).tolist()
        return statistics.median(lengths[1:] or lengths)


class Published(torch.nn.Module):
    """Three graph convolutions that pass messages along edges."""

    def __init__(self) -> None:
        super().__init__()
        widths = zip((WIDTH, *PUBLISHED.hidden), (*PUBLISHED.hidden, 1), strict=True)
        self.layers = torch.nn.ModuleList(graph.GCNConv(a, b) for a, b in widths)

    def forward(self, x: torch.Tensor, near: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the scores of all nodes, [nodes].

        x: [nodes, width].
        near: [rows, k], neighbors of the first `rows` nodes. The other nodes have none.
        weights: [rows, k], of these edges.
        """
        targets = torch.arange(len(near)).repeat_interleave(near.shape[1])
        edges = torch.stack([near.flatten(), targets]), weights.flatten()
        for layer in self.layers[:-1]:
            x = functional.dropout(layer(x, *edges).relu(), PUBLISHED.dropout, self.training)
        return self.layers[-1](x, *edges)[:, 0]


def sampled(near: torch.Tensor, roots: torch.Tensor, hops: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nodes within so many hops of the roots, roots first, and the edges between them.

    Edges are positions among the nodes, [rows, k]: the neighbors of each node that is fewer hops away.
    Nothing is drawn at random, because the published code samples ten of ten neighbors.

    near: [n, k], neighbors of every image.
    roots: indices of images.
    """
    seen = torch.zeros(len(near), dtype=torch.bool)
    seen[roots] = True
    nodes = roots
    inner = roots
    for _ in range(hops):
        inner = nodes
        reached = near[inner].unique()
        reached = reached[~seen[reached]]
        seen[reached] = True
        nodes = torch.cat([nodes, reached])
    position = torch.empty(len(near), dtype=torch.int64)
    position[nodes] = torch.arange(len(nodes))
    return nodes, position[near[inner]]


def published(
    task: Problem, near: torch.Tensor, weights: torch.Tensor, epochs: int, clock: Clock
) -> np.ndarray:
    """Train by batches of neighborhoods. Predict all images after each epoch. Return the best prediction."""
    seeds = task.seeds
    torch.manual_seed(0)
    x = torch.tensor(task.embeddings)
    targets = torch.tensor(task.truth).float()
    targets = (targets - targets[seeds].mean()) / targets[seeds].std()
    held_out, fitted = torch.tensor(seeds)[torch.randperm(len(seeds))].tensor_split([len(seeds) // 10])
    model = Published()
    optimizer = torch.optim.Adam(model.parameters(), lr=PUBLISHED.lr)
    best_agreement = -np.inf
    best_prediction = np.zeros(len(x))
    for _ in range(epochs):
        model.train()
        for roots in fitted[torch.randperm(len(fitted))].split(BATCH):
            nodes, edges = sampled(near, roots, 2)
            output = model(x[nodes], edges, weights[nodes[: len(edges)]])[: len(roots)]
            optimizer.zero_grad()
            functional.mse_loss(output, targets[roots]).backward()
            optimizer.step()
        predicted = torch.cat(list(predictions(model.eval(), x, near, weights)))
        agreement = float(torch.corrcoef(torch.stack([predicted[held_out], targets[held_out]]))[0, 1])
        if agreement > best_agreement:
            best_agreement = agreement
            best_prediction = predicted.numpy()
        clock()
    return best_prediction


@torch.no_grad()
def predictions(
    model: Published, x: torch.Tensor, near: torch.Tensor, weights: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Yield the predictions of each batch of images. An image is seen with its direct neighbors only."""
    for roots in torch.arange(len(x)).split(PREDICTION_BATCH):
        nodes, edges = sampled(near, roots, 1)
        yield model(x[nodes], edges, weights[roots])[: len(roots)]


def ours(task: Problem, near: np.ndarray, weights: np.ndarray, epochs: int, clock: Clock) -> np.ndarray:
    """Train as the scorer does and return the predictions, [n]."""
    return graph.learn(
        task.embeddings,
        near,
        weights,
        task.seeds,
        task.truth[task.seeds],
        replace(PUBLISHED, epochs=epochs),
        rng=np.random.default_rng(0),
        device="cpu",
        progress=clock,
    )


def a_step(task: Problem, near: torch.Tensor, weights: torch.Tensor) -> float:
    """Return the CPU seconds of a step of the published layers on the whole graph, storing all messages."""
    x = torch.tensor(task.embeddings)
    model = Published()
    lengths = []
    for _ in range(3):
        begin = time.process_time()
        model(x, near, weights)[task.seeds].square().mean().backward()
        lengths.append(time.process_time() - begin)
    return statistics.median(lengths)


def averaged(task: Problem, via: str) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of averaging over neighbors, and the scores, [n]."""
    part = ScoreExtrapolation(via=via)
    begin = time.process_time()
    scores = part._average(task.embeddings, task.seeds, task.truth[task.seeds], "cpu")
    return time.process_time() - begin, scores


def compare(images: int, epochs: int) -> list[list[str]]:
    """Return the rows of the table for so many images."""
    task = problem(images)
    rest = np.setdiff1d(np.arange(images), task.seeds)
    begin = time.process_time()
    near, distances = nearest(task.embeddings, 10, metric="euclidean")
    searching = time.process_time() - begin
    weights = np.exp(distances / np.float32(-2))
    edges = torch.tensor(near), torch.tensor(weights)

    def row(name: str, seconds: float, reference: float, scores: np.ndarray | None) -> list[str]:
        ratio = f"{seconds / reference:.2f}" if reference else ""
        correlation = "" if scores is None else f"{spearmanr(scores[rest], task.truth[rest])[0]:.3f}"
        return [str(images), name, f"{seconds:.2f}", ratio, correlation]

    our_clock = Clock()
    our_scores = ours(task, near, weights, epochs, our_clock)
    their_clock = Clock()
    their_scores = published(task, *edges, epochs, their_clock)
    our_seconds = EPOCHS * our_clock.epoch
    their_seconds = EPOCHS * their_clock.epoch
    step = our_clock.epoch / PUBLISHED.steps
    whole = epochs == EPOCHS  # after fewer epochs the scores mean nothing
    rows = [row("the graph, 10 neighbors", searching, 0, None)]
    rows.append(row("network, ours", our_seconds, our_seconds, our_scores if whole else None))
    rows.append(row("network, published", their_seconds, our_seconds, their_scores if whole else None))
    rows.append(row("a step on all scored images, ours", step, step, None))
    rows.append(row("a step on all scored images, messages held", a_step(task, *edges), step, None))
    for via in ("knn", "knn_weighted"):
        seconds, scores = averaged(task, via)
        rows.append(row(via, seconds, our_seconds, scores))
    return rows


def main() -> None:
    """Compare at each size, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    epochs = EPOCHS if options.whole else options.epochs
    rows = [row for images in options.images for row in compare(images, epochs)]
    headers = ["images", "part", "CPU s", "to ours", "rank correlation"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
