"""CPU seconds of carrying scores over to all images, beside the published loop over sampled neighbourhoods.

    python benchmarks/speed/extrapolation.py [--images 5000 20000] [--epochs 3] [--whole]

A tenth of the images, with embeddings of 512 numbers in 100 overlapping clusters, has scores. Ours: five
steps an epoch on all scored images at once, as products with sparse matrices. Published: batches of 128
images with their neighbours and the neighbours of these, through layers that hold every message; then a
look at all images, each with its neighbours, in batches of 1024. It is restated here from its description,
around the layers of torch-geometric. The same layers on the whole graph show what our products are worth.

One thread; the median over `--epochs` epochs counts, and 35 of these are a training. The graph, which both
need, is measured apart. --whole trains for all 35 epochs and compares predictions with the truth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np
import torch
from scipy.stats import spearmanr
from tabulate import tabulate
from torch.nn import functional

from prunebench.nn.neighbours import nearest
from prunebench.parts.artefacts import Dynamics
from prunebench_plugins.scorers.score_extrapolation import graph
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation

WIDTH, LATENT, CLUSTERS = 512, 16, 100
EPOCHS, BATCH, LOOK = 35, 128, 1024
PUBLISHED = ScoreExtrapolation()
Problem = tuple[np.ndarray, np.ndarray, np.ndarray]


def problem(images: int) -> Problem:
    """Return embeddings [n, 512], which images have a score, and what it would be for all, [n].

    Embeddings are the positive parts of mixtures of 16 numbers, so that nearly every image is a neighbour
    of another, as among the features of a network. The score is the distance to the origin, and noise.
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, LATENT))
    latent = centres[rng.integers(CLUSTERS, size=images)] + rng.normal(size=(images, LATENT)) / 2
    embeddings = np.maximum(latent @ rng.normal(size=(LATENT, WIDTH)), 0).astype(np.float32) / 16
    truth = np.linalg.norm(latent, axis=1) + rng.normal(0, 0.2, images)
    return embeddings, np.sort(rng.permutation(images)[: images // 10]), truth


class Clock:
    """Notes the CPU time whenever an epoch ends."""

    def __init__(self) -> None:
        self.ends = [time.process_time()]

    def __call__(self, *_at: int) -> None:
        """End an epoch."""
        self.ends.append(time.process_time())

    @property
    def epoch(self) -> float:
        """CPU seconds of an epoch, the median; the first, which sets up as well, counts only if alone."""
        lengths = np.diff(self.ends).tolist()
        return statistics.median(lengths[1:] or lengths)


class Published(torch.nn.Module):
    """Three convolutions that pass messages along edges."""

    def __init__(self) -> None:
        super().__init__()
        widths = zip((WIDTH, *PUBLISHED.hidden), (*PUBLISHED.hidden, 1), strict=True)
        self.layers = torch.nn.ModuleList(graph.GCNConv(a, b) for a, b in widths)

    def forward(self, x: torch.Tensor, near: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return [nodes]; the first nodes have neighbours, near [rows, k], with weights [rows, k]."""
        targets = torch.arange(len(near)).repeat_interleave(near.shape[1])
        edges = torch.stack([near.flatten(), targets]), weights.flatten()
        for layer in self.layers[:-1]:
            x = functional.dropout(layer(x, *edges).relu(), PUBLISHED.dropout, self.training)
        return self.layers[-1](x, *edges)[:, 0]


def sampled(near: torch.Tensor, roots: torch.Tensor, hops: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nodes that so many hops from the roots reach, roots first, and the edges between them.

    Edges are places among the nodes, [rows, k], of the nodes less than that many hops away. Ten of ten
    neighbours are all of them, so nothing is drawn.
    """
    seen = torch.zeros(len(near), dtype=torch.bool)
    seen[roots] = True
    nodes = inner = roots
    for _ in range(hops):
        inner = nodes
        reached = near[inner].unique()
        reached = reached[~seen[reached]]
        seen[reached] = True
        nodes = torch.cat([nodes, reached])
    place = torch.empty(len(near), dtype=torch.int64)
    place[nodes] = torch.arange(len(nodes))
    return nodes, place[near[inner]]


def published(
    given: Problem, near: torch.Tensor, weights: torch.Tensor, epochs: int, clock: Clock
) -> np.ndarray:
    """Train by batches of neighbourhoods, look at all images after each epoch, keep the best look."""
    embeddings, seeds, truth = given
    torch.manual_seed(0)
    x, targets = torch.tensor(embeddings), torch.tensor(truth).float()
    targets = (targets - targets[seeds].mean()) / targets[seeds].std()
    held_out, fitted = torch.tensor(seeds)[torch.randperm(len(seeds))].tensor_split([len(seeds) // 10])
    model = Published()
    optimizer = torch.optim.Adam(model.parameters(), lr=PUBLISHED.lr)
    best, chosen = -np.inf, np.zeros(len(x))
    for _ in range(epochs):
        model.train()
        for roots in fitted[torch.randperm(len(fitted))].split(BATCH):
            nodes, edges = sampled(near, roots, 2)
            output = model(x[nodes], edges, weights[nodes[: len(edges)]])[: len(roots)]
            optimizer.zero_grad()
            functional.mse_loss(output, targets[roots]).backward()
            optimizer.step()
        predicted = torch.cat(list(looks(model.eval(), x, near, weights)))
        agreement = float(torch.corrcoef(torch.stack([predicted[held_out], targets[held_out]]))[0, 1])
        if agreement > best:
            best, chosen = agreement, predicted.numpy()
        clock()
    return chosen


@torch.no_grad()
def looks(
    model: Published, x: torch.Tensor, near: torch.Tensor, weights: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Yield what the model says of each batch of images, which sees its neighbours alone."""
    for roots in torch.arange(len(x)).split(LOOK):
        nodes, edges = sampled(near, roots, 1)
        yield model(x[nodes], edges, weights[roots])[: len(roots)]


def ours(given: Problem, near: np.ndarray, weights: np.ndarray, epochs: int, clock: Clock) -> np.ndarray:
    """Train as the scorer does."""
    embeddings, seeds, truth = given
    return graph.learn(
        embeddings,
        near,
        weights,
        seeds,
        truth[seeds],
        replace(PUBLISHED, epochs=epochs),
        rng=np.random.default_rng(0),
        device="cpu",
        progress=clock,
    )


def a_step(given: Problem, near: torch.Tensor, weights: torch.Tensor) -> float:
    """Return the CPU seconds of a step of the published layers on the whole graph, messages held."""
    x, model = torch.tensor(given[0]), Published()
    lengths = []
    for _ in range(3):
        began = time.process_time()
        model(x, near, weights)[given[1]].square().mean().backward()
        lengths.append(time.process_time() - began)
    return statistics.median(lengths)


def averaged(given: Problem, via: str) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of the means over neighbours, and the scores."""
    embeddings, seeds, truth = given
    series = dict.fromkeys(Dynamics.series, np.zeros((30, len(seeds)), np.float32))
    series["label_probability"] = np.tile(truth[seeds].astype(np.float32), (30, 1))
    part = ScoreExtrapolation(via=via)
    began = time.process_time()
    scores = part._average(embeddings, seeds, truth[seeds], "cpu")
    return time.process_time() - began, scores


def compare(images: int, epochs: int) -> list[list[str]]:
    """Return the rows of the table for so many images."""
    given = problem(images)
    rest = np.setdiff1d(np.arange(images), given[1])
    began = time.process_time()
    near, distances = nearest(given[0], 10, metric="euclidean")
    searching = time.process_time() - began
    weights = np.exp(distances / np.float32(-2))
    edges = torch.tensor(near), torch.tensor(weights)

    def row(name: str, seconds: float, beside: float, scores: np.ndarray | None) -> list[str]:
        found = "" if scores is None else f"{spearmanr(scores[rest], given[2][rest])[0]:.3f}"
        return [str(images), name, f"{seconds:.2f}", f"{seconds / beside:.2f}" if beside else "", found]

    clock = Clock()
    scores = ours(given, near, weights, epochs, clock)
    theirs = Clock()
    sampled_scores = published(given, *edges, epochs, theirs)
    own = EPOCHS * clock.epoch
    whole = epochs == EPOCHS
    rows = [row("the graph, 10 neighbours", searching, 0, None)]
    rows.append(row("network, ours", own, own, scores if whole else None))
    rows.append(row("network, published", EPOCHS * theirs.epoch, own, sampled_scores if whole else None))
    step = clock.epoch / PUBLISHED.steps
    rows.append(row("a step on all scored images, ours", step, step, None))
    rows.append(row("a step on all scored images, messages held", a_step(given, *edges), step, None))
    for via in ("knn", "knn_weighted"):
        seconds, scores = averaged(given, via)
        rows.append(row(via, seconds, own, scores))
    return rows


def main() -> None:
    """Compare at each size, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--images", type=int, nargs="+", default=[5000, 20000])
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--whole", action="store_true")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    epochs = EPOCHS if given.whole else given.epochs
    rows = [row for images in given.images for row in compare(images, epochs)]
    headers = ["images", "part", "CPU s", "to ours", "rank correlation"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
