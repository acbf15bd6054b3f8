"""Score extrapolation in torch: a search among the scored images, and a network on the neighbour graph.

The graph is a sparse matrix, so a convolution is a product with it, and no message is ever held.
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
from prunebench.nn.neighbours import CHUNK_BYTES
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Progress
from prunebench.parts.sampling import share
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.scorers.score_extrapolation.settings import ScoreExtrapolationSettings

with warnings.catch_warnings():
    # On import it compiles a pooling layer, of no concern here, in a way that torch calls outdated.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from torch_geometric.nn import GCNConv  # type: ignore[import-untyped]

Tensor = torch.Tensor
View = tuple[Tensor, list[Tensor]]  # what decides the outputs for some nodes: see `view`
Lesson = tuple[View, Tensor]  # what a step sees, and the scores it should predict


def unit(vectors: Array) -> Array:
    """Return the vectors, float [n, d], at length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest_seeds(
    vectors: Array, seeds: Array, others: Array, k: int, *, metric: str, device: str
) -> tuple[Array, Array]:
    """Find the k seeds nearest to each of the others, in chunks of bounded memory.

    vectors: float [n, d]; seeds and others: int, places in it. Returns places among the seeds, int64
    [others, k], nearest first by `metric`, and their Euclidean distances, float32 [others, k], which
    are those of the vectors as they are by either metric.
    """
    points = torch.tensor(vectors, dtype=torch.float32, device=device)
    points = points - points.mean(0)  # keeps what the products below cancel small
    placed = points
    if metric == "cosine":
        placed = torch.tensor(unit(vectors), dtype=torch.float32, device=device)
    scored = torch.tensor(seeds, device=device)
    targets = placed[scored]
    lengths = targets.square().sum(1)
    near = np.empty((len(others), k), np.int64)
    distances = np.empty((len(others), k), np.float32)
    rows = max(1, CHUNK_BYTES // (4 * max(len(seeds), k * vectors.shape[1])))
    for start in range(0, len(others), rows):
        chunk = slice(start, start + rows)
        asked = torch.tensor(others[chunk], device=device)
        gaps = torch.addmm(lengths, placed[asked], targets.T, alpha=-2)  # but for a constant of each row
        found = gaps.topk(k, largest=False).indices
        neighbours = scored[found]
        exact = torch.linalg.vector_norm(placed[asked, None] - placed[neighbours], dim=2)
        order = exact.argsort(dim=1, stable=True)
        found, neighbours = found.gather(1, order), neighbours.gather(1, order)
        near[chunk] = found.cpu().numpy()
        euclidean = torch.linalg.vector_norm(points[asked, None] - points[neighbours], dim=2)
        distances[chunk] = euclidean.cpu().numpy()
    return near, distances


def convolution(near: Array, weights: Array, nodes: int) -> csr_array:
    """Return D^-1/2 (W + I) D^-1/2, sparse [nodes, nodes], as Kipf and Welling 2017 and GCNConv.

    W holds weights[i, j], float [rows, k], at (i, near[i, j]); nodes from `rows` on have no neighbours.
    D holds the sums of the rows of W + I.
    """
    rows, k = near.shape
    bounds = np.minimum(np.arange(nodes + 1), rows) * k
    looped = csr_array((weights.ravel(), near.ravel(), bounds), shape=(nodes, nodes)) + eye_array(nodes)
    scale = diags_array(looped.sum(axis=1) ** -0.5)
    return (scale @ looped @ scale).tocsr()


def one_hop(near: Array, weights: Array, batch: int) -> csr_array:
    """Return the graph [2n, 2n] on which n images see no farther than the sampler of the published code.

    It hands out the images in batches, in order, each batch with its direct neighbours: those from outside
    the batch come without neighbours of their own, and stand here as nodes n..2n-1. The network's
    outputs for nodes 0..n-1 are then those it gives batch by batch.
    """
    own = np.arange(len(near)) // batch
    sources = np.where(own[near] == own[:, None], near, near + len(near))
    return convolution(sources, weights, 2 * len(near))


def sampled(near: Array, weights: Array, roots: Array, hops: int) -> tuple[csr_array, Array, Array]:
    """Return the graph that the sampler of the published code draws around some nodes.

    It follows edges back for `hops` steps: who is met before the last step has all its neighbours, who is
    met in it has none. Returns the graph, the nodes it is of, int, and the places of the roots among these.
    """
    heard = roots
    for _ in range(hops - 1):
        heard = np.unique(np.concatenate([heard, near[heard].ravel()]))
    nodes = np.concatenate([heard, np.setdiff1d(near[heard], heard)])
    place = np.empty(len(near), np.int64)
    place[nodes] = np.arange(len(nodes))
    return convolution(place[near[heard]], weights[heard], len(nodes)), nodes, place[roots]


def view(graph: csr_array, x: Tensor, nodes: Array, depth: int) -> View:
    """Return all that decides the outputs of a network with `depth` + 1 convolutions for some nodes.

    x: features, [all nodes, f]. First come the nodes that are `depth` hops or fewer from those asked for,
    as the means of their neighbours' features; then, for each further convolution, the rows and columns of
    the graph that matter to it. A (X W) = (A X) W, so the first and widest convolution, of means that
    never change, costs no product with the graph.
    """
    graphs: list[Tensor] = []
    for _ in range(depth):
        rows = graph[nodes]
        nodes = np.unique(rows.indices)
        graphs.insert(0, placed(rows[:, nodes], x.device))
    return torch.sparse.mm(placed(graph[nodes], x.device), x), graphs


def placed(matrix: csr_array, device: torch.device) -> Tensor:
    """Return a sparse matrix as a float32 tensor on the device."""
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
        """Return [nodes], the outputs for the nodes of a `view`. With a generator, units drop out."""
        layers: list[Any] = list(self.layers)
        x: Tensor = layers[0].lin(smoothed) + layers[0].bias
        for layer, graph in zip(layers[1:], graphs, strict=True):
            x = x.relu()
            if generator is not None and self.dropout:
                # Three times as fast as bernoulli_ on a CPU, where that took a third of the training.
                kept = torch.rand(x.shape, generator=generator, device=x.device).ge_(self.dropout)
                x = x * kept.div_(1 - self.dropout)
            x = layer(x, graph)
        return x[:, 0]


def build(widths: tuple[int, ...], dropout: float, seed: int) -> Network:
    """Return a network with fresh weights, which depend on `seed` alone."""
    # Layers draw from the global generator, which is handed back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(widths, dropout)


@dataclass(frozen=True, eq=False, kw_only=True)
class Lessons:
    """What a network learns from, and what it is asked in the end.

    near, weights: int and float [n, k], the edges. x: features, float [n, f]. nodes: int [m], with the
    scores to be learned, `wanted`, float [m]. settings: how.
    """

    near: Array
    weights: Array
    x: Tensor
    nodes: Array
    wanted: Tensor
    settings: ScoreExtrapolationSettings

    @property
    def depth(self) -> int:
        """How many convolutions follow the first, and how many hops a node of a mini-batch sees."""
        return len(self.settings.hidden)

    @cached_property
    def graph(self) -> csr_array:
        """The graph of all nodes."""
        return convolution(self.near, self.weights, len(self.near))

    @cached_property
    def whole(self) -> Lesson:
        """All nodes at once."""
        return view(self.graph, self.x, self.nodes, self.depth), self.wanted

    def part(self, chosen: Array) -> Lesson:
        """Return the mini-batch of the nodes at these places: as the sampler of the published code has it."""
        graph, around, roots = sampled(self.near, self.weights, self.nodes[chosen], self.depth)
        x = self.x[torch.tensor(around, device=self.x.device)]
        return view(graph, x, roots, self.depth), self.wanted[torch.tensor(chosen, device=self.x.device)]

    def epoch(self, rng: np.random.Generator) -> Iterator[Lesson]:
        """Return the steps of an epoch: all nodes in each, or each node once, in mini-batches drawn anew."""
        batch = self.settings.batch
        if batch is None:
            return repeat(self.whole, self.settings.steps)
        order = rng.permutation(len(self.nodes))
        return (self.part(order[start : start + batch]) for start in range(0, len(order), batch))

    def everything(self) -> View:
        """Return what the network sees when it predicts every node."""
        if self.settings.inference == "one_hop":
            graph = one_hop(self.near, self.weights, self.settings.inference_batch)
            return view(graph, torch.cat([self.x, self.x]), np.arange(len(self.near)), self.depth)
        return view(self.graph, self.x, np.arange(len(self.near)), self.depth)


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

    features: float [n, f]. near, weights: int and float [n, k], the edges. seeds: int [m], with their
    scores, float64 [m]. A seed held out for validation has its place and its features in the graph, but
    no part in the loss. The epoch with the largest Pearson correlation on these is returned, the last one
    where no correlation is defined. Raise DivergedError for a loss that is not finite.
    """
    held_out, fitted = np.split(rng.permutation(len(seeds)), [share(len(seeds), settings.validation)])
    mean, deviation = (float(scores.mean()), float(scores.std())) if settings.standardise else (0.0, 1.0)
    targets = (scores - mean) / (deviation or 1)
    lessons = Lessons(
        near=near,
        weights=weights,
        x=torch.tensor(features, dtype=torch.float32, device=device),
        nodes=seeds[fitted],
        wanted=torch.tensor(targets[fitted], dtype=torch.float32, device=device),
        settings=settings,
    )
    shown = lessons.everything()
    widths = (features.shape[1], *settings.hidden, 1)
    network = build(widths, settings.dropout, int(rng.integers(2**63))).to(device)
    generator = torch_generator(rng, device)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    best, chosen = -math.inf, targets
    for epoch in range(settings.epochs):
        if not study(network, optimizer, lessons.epoch(rng), generator).isfinite():
            raise DivergedError(
                f"the loss is not finite in epoch {epoch + 1} of {settings.epochs}; "
                f"lower {settings.name}.lr, which is {settings.lr:.3g}"
            )
        with torch.no_grad():
            predicted = network(*shown).double().cpu().numpy()
        agreement = correlation(predicted[seeds[held_out]], targets[held_out])
        if agreement > best or best == -math.inf:
            best, chosen = agreement, predicted
        progress(epoch + 1, settings.epochs)
    return mean + deviation * chosen


def study(
    network: Network,
    optimizer: torch.optim.Optimizer,
    steps: Iterator[Lesson],
    generator: torch.Generator,
) -> Tensor:
    """Make the steps of an epoch; return the loss of the last."""
    for taught, wanted in steps:
        loss: Tensor = (network(*taught, generator) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return loss.detach()


def correlation(a: Array, b: Array) -> float:
    """Return Pearson's correlation of two float64 [m], minus infinity where none is defined."""
    if len(a) < 2:
        return -math.inf
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else -math.inf
