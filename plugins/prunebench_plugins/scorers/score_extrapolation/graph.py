"""Score extrapolation in torch: a search among the scored images, and a network on the neighbor graph.

The graph is a sparse matrix, so a convolution is a product with it. No message per edge is ever stored.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, eye_array

from prunebench.errors import DivergedError
from prunebench.nn.neighbors import CHUNK_BYTES, candidates, distances_to
from prunebench.nn.products import linear
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Progress
from prunebench.parts.sampling import share
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.scorers.score_extrapolation.settings import ScoreExtrapolationSettings

with warnings.catch_warnings():
    # The import compiles a pooling layer, unused here, with an interface that torch deprecates.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from torch_geometric.nn import GCNConv  # type: ignore[import-untyped]

Tensor = torch.Tensor
View = tuple[Tensor, list[Tensor]]  # smoothed features and graphs that determine some outputs: see `view`
Batch = tuple[View, Tensor]  # the inputs of a training step, and its target scores


def unit(vectors: Array) -> Array:
    """Scale each vector of float [n, d] to length 1. A zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest_seeds(
    vectors: Array, seeds: Array, others: Array, k: int, *, metric: str, device: str
) -> tuple[Array, Array]:
    """Find the k seeds nearest to each of the others, in chunks of bounded memory.

    vectors: float [n, d].
    seeds, others: int, positions in `vectors`.
    metric: "euclidean" or "cosine", for the ranking alone.

    Returns positions among the seeds, int64 [others, k], nearest first by `metric`, and their distances,
    float32 [others, k]. The distances are Euclidean, between the unscaled vectors, by either metric.
    """
    points = torch.tensor(vectors, dtype=torch.float32, device=device)
    points = points - points.mean(0)  # small lengths: less cancellation in the products below
    ranked = points
    if metric == "cosine":
        ranked = torch.tensor(unit(vectors), dtype=torch.float32, device=device)
    seed_index = torch.tensor(seeds, device=device)
    targets = ranked[seed_index]
    near = np.empty((len(others), k), np.int64)
    distances = np.empty((len(others), k), np.float32)
    height = max(1, CHUNK_BYTES // (4 * len(seeds)))
    for start in range(0, len(others), height):
        chunk = slice(start, start + height)
        index = torch.tensor(others[chunk], device=device)
        queries = ranked[index]
        for rows, _, nearest in candidates(queries, targets, k):
            neighbors = seed_index[nearest]
            # Products round: exact distances decide the order.
            order = distances_to(ranked, queries[rows], neighbors).argsort(dim=1, stable=True)
            euclidean = distances_to(points, points[index[rows]], neighbors.gather(1, order))
            near[chunk][rows] = nearest.gather(1, order).cpu().numpy()
            distances[chunk][rows] = euclidean.cpu().numpy()
    return near, distances


def convolution(near: Array, weights: Array, nodes: int) -> csr_array:
    """Return D^-1/2 (W + I) D^-1/2, sparse [nodes, nodes], as Kipf and Welling 2017 and GCNConv.

    W holds weights[i, j] at (i, near[i, j]). D holds the sums of the rows of W + I.

    near: int [rows, k], the neighbors of the first `rows` nodes. Later nodes have none.
    weights: float [rows, k], of these edges.
    """
    rows, k = near.shape
    bounds = np.minimum(np.arange(nodes + 1), rows) * k
    edges = csr_array((weights.ravel(), near.ravel(), bounds), shape=(nodes, nodes))
    looped = edges + eye_array(nodes)
    scale = diags_array(looped.sum(axis=1) ** -0.5)
    return (scale @ looped @ scale).tocsr()


def one_hop(near: Array, weights: Array, batch: int) -> csr_array:
    """Return the graph [2n, 2n] on which n images see no farther than the sampler of the published code.

    That sampler yields the images in order, in batches, each with its direct neighbors. A neighbor from
    outside the batch comes without neighbors of its own. Here nodes n..2n-1 stand for such neighbors.
    So one pass gives nodes 0..n-1 the outputs that the sampler gives them batch by batch.
    """
    batches = np.arange(len(near)) // batch
    same_batch = batches[near] == batches[:, None]
    sources = np.where(same_batch, near, near + len(near))
    return convolution(sources, weights, 2 * len(near))


def sampled(near: Array, weights: Array, roots: Array, hops: int) -> tuple[csr_array, Array, Array]:
    """Return the graph that the sampler of the published code draws around some nodes.

    The sampler follows edges back for `hops` steps. Nodes reached before the last step keep all their
    neighbors. Nodes first reached in the last step have none.

    Returns the graph, its nodes, int, and the positions of the roots among these nodes.
    """
    inner = roots  # nodes reached before the last step
    for _ in range(hops - 1):
        inner = np.unique(np.concatenate([inner, near[inner].ravel()]))
    nodes = np.concatenate([inner, np.setdiff1d(near[inner], inner)])
    position = np.empty(len(near), np.int64)
    position[nodes] = np.arange(len(nodes))
    graph = convolution(position[near[inner]], weights[inner], len(nodes))
    return graph, nodes, position[roots]


def view(graph: csr_array, x: Tensor, nodes: Array, depth: int) -> View:
    """Return the inputs that determine the outputs of `depth` + 1 convolutions for some nodes.

    x: features, float [all nodes, f].
    nodes: int, the nodes whose outputs are wanted.

    Returns the neighborhood means of the features, for all nodes at most `depth` hops away. Then, for each
    further convolution, the rows and columns of the graph that it needs.
    A (X W) = (A X) W. The means A X never change, so the first and widest convolution costs no product with
    the graph.
    """
    graphs: list[Tensor] = []
    for _ in range(depth):
        rows = graph[nodes]
        nodes = np.unique(rows.indices)
        graphs.insert(0, sparse_tensor(rows[:, nodes], x.device))
    return torch.sparse.mm(sparse_tensor(graph[nodes], x.device), x), graphs


def sparse_tensor(matrix: csr_array, device: torch.device) -> Tensor:
    """Copy a sparse matrix to the device as a float32 tensor. Sorts the indices of `matrix` in place."""
    matrix.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            torch.tensor(matrix.indptr),
            torch.tensor(matrix.indices),
            torch.tensor(matrix.data, dtype=torch.float32),
            matrix.shape,
            check_invariants=False,
        ).to(device)


class Network(torch.nn.Module):
    """Graph convolutions with ReLU and dropout between them, one output per node."""

    def __init__(self, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(GCNConv(a, b, normalize=False) for a, b in pairwise(widths))
        self.dropout = dropout

    def forward(
        self, smoothed: Tensor, graphs: list[Tensor], generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the outputs for the nodes of a `view`: float32 [nodes].

        generator: source of dropout. None = no dropout.
        """
        layers: list[Any] = list(self.layers)
        x: Tensor = linear(smoothed, layers[0].lin.weight, None) + layers[0].bias
        for layer, graph in zip(layers[1:], graphs, strict=True):
            x = x.relu()
            if generator is not None and self.dropout:
                # Three times as fast as bernoulli_ on a CPU, which took a third of the training time.
                kept = torch.rand(x.shape, generator=generator, device=x.device).ge_(self.dropout)
                x = x * kept.div_(1 - self.dropout)
            x = layer(x, graph)
        return x[:, 0]


def build(widths: tuple[int, ...], dropout: float, seed: int) -> Network:
    """Return a network with fresh weights. They depend on `seed` alone."""
    # Layers draw from the global generator. fork_rng restores its state.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(widths, dropout)


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingSet:
    """The graph, the features and the target scores, cut into batches.

    near: int [n, k], the neighbors of each node.
    weights: float [n, k], of these edges.
    x: features, float32 [n, f].
    nodes: int [m], the nodes with a score to learn.
    targets: float32 [m], their scores.
    settings: the fields of the scorer.
    """

    near: Array
    weights: Array
    x: Tensor
    nodes: Array
    targets: Tensor
    settings: ScoreExtrapolationSettings

    @property
    def depth(self) -> int:
        """Number of convolutions after the first, and of hops that a node of a mini-batch sees."""
        return len(self.settings.hidden)

    @cached_property
    def graph(self) -> csr_array:
        """The graph of all nodes."""
        return convolution(self.near, self.weights, len(self.near))

    @cached_property
    def full_batch(self) -> Batch:
        """All nodes with a score, at once."""
        return view(self.graph, self.x, self.nodes, self.depth), self.targets

    def mini_batch(self, index: Array) -> Batch:
        """Return the nodes at these positions of `nodes`, sampled as the published code does."""
        graph, around, roots = sampled(self.near, self.weights, self.nodes[index], self.depth)
        x = self.x[torch.tensor(around, device=self.x.device)]
        targets = self.targets[torch.tensor(index, device=self.x.device)]
        return view(graph, x, roots, self.depth), targets

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Return the batches of an epoch.

        Without `settings.batch` they are `settings.steps` times the full batch. With it each node comes once,
        in mini-batches in a new random order.
        """
        batch = self.settings.batch
        if batch is None:
            return repeat(self.full_batch, self.settings.steps)
        order = rng.permutation(len(self.nodes))
        return (self.mini_batch(order[start : start + batch]) for start in range(0, len(order), batch))

    def inference_view(self) -> View:
        """Return the inputs from which the network predicts every node."""
        nodes = np.arange(len(self.near))
        if self.settings.inference == "one_hop":
            graph = one_hop(self.near, self.weights, self.settings.inference_batch)
            return view(graph, torch.cat([self.x, self.x]), nodes, self.depth)
        return view(self.graph, self.x, nodes, self.depth)


def learn(
    features: Array,
    near: Array,
    weights: Array,
    seeds: Array,
    scores: Array,
    settings: ScoreExtrapolationSettings,
    *,
    rng: np.random.Generator,
    device: str,
    progress: Progress,
) -> Array:
    """Fit a network to the scores of the seeds and return its prediction for every node: float64 [n].

    features: float [n, f].
    near: int [n, k], the neighbors of each node.
    weights: float [n, k], of these edges.
    seeds: int [m], the scored nodes.
    scores: float64 [m], their scores.

    A seed held out for validation stays in the graph with its features, but not in the loss. The epoch with
    the largest Pearson correlation on held-out seeds counts, or the last epoch if none is defined.
    Raise DivergedError if the loss is not finite.
    """
    held_out, fitted = np.split(rng.permutation(len(seeds)), [share(len(seeds), settings.validation)])
    mean = 0.0
    deviation = 1.0
    if settings.standardize:
        mean = float(scores.mean())
        deviation = float(scores.std())
    targets = (scores - mean) / (deviation or 1)
    training_set = TrainingSet(
        near=near,
        weights=weights,
        x=torch.tensor(features, dtype=torch.float32, device=device),
        nodes=seeds[fitted],
        targets=torch.tensor(targets[fitted], dtype=torch.float32, device=device),
        settings=settings,
    )
    inference_view = training_set.inference_view()
    widths = (features.shape[1], *settings.hidden, 1)
    network = build(widths, settings.dropout, int(rng.integers(2**63))).to(device)
    generator = torch_generator(rng, device)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    best_correlation = -math.inf
    best_prediction = targets
    for epoch in range(settings.epochs):
        loss = train_epoch(network, optimizer, training_set.epoch(rng), generator)
        if not loss.isfinite():
            raise DivergedError(
                f"the loss is not finite in epoch {epoch + 1} of {settings.epochs}; "
                f"lower {settings.name}.lr, which is {settings.lr:.3g}"
            )
        with torch.no_grad():
            prediction = network(*inference_view).double().cpu().numpy()
        agreement = correlation(prediction[seeds[held_out]], targets[held_out])
        if agreement > best_correlation or best_correlation == -math.inf:
            best_correlation = agreement
            best_prediction = prediction
        progress(epoch + 1, settings.epochs)
    return mean + deviation * best_prediction


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    generator: torch.Generator,
) -> Tensor:
    """Take one step per batch. Return the loss of the last step."""
    for inputs, targets in batches:
        loss: Tensor = (network(*inputs, generator) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return loss.detach()


def correlation(a: Array, b: Array) -> float:
    """Return Pearson's correlation of two float64 [m], or minus infinity if it is undefined."""
    if len(a) < 2:
        return -math.inf
    a = a - a.mean()
    b = b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else -math.inf
