"""The network of score extrapolation on the graph of neighbors, and its published training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.neighbors import kneighbors_graph
from torch.nn import functional

from prunebench.nn import networks
from prunebench.nn.augment import normalize
from prunebench.parts import work
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import share
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.withheld import Withheld
from prunebench_plugins.methods import register_methods
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.score_extrapolation import graph, loop
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation
from tests.plugins.extrapolation import CLASSES, First, cloud, extrapolate, short

PUBLISHED = ScoreExtrapolation(
    **{"scorer": DynUnc(start=2), "training": "published", "training_epochs": 50, "training_batch": 256},
    **{"training_lr": 1e-3, "epochs": 35, "batch": 128, "lr": 1e-3, "standardize": False},
    **{"inference": "one_hop", "inference_batch": 1024},
)


# The graph and its network


def edges(near, weights):
    """Return a graph as torch-geometric writes it: from neighbors to the node whose they are."""
    targets = np.repeat(np.arange(len(near)), near.shape[1])
    return torch.tensor(np.stack([near.ravel(), targets])), torch.tensor(weights.ravel()).float()


def reference(network, x, near, weights, nodes=None):
    """Return the outputs of the same layers, normalized and summed edge by edge by torch-geometric."""
    index, values = edges(near, weights)
    layers = list(network.layers)
    with torch.no_grad():
        for place, layer in enumerate(layers):
            own = graph.GCNConv(layer.in_channels, layer.out_channels)
            own.load_state_dict(layer.state_dict())
            x = own(x, index, values)
            x = x.relu() if place < len(layers) - 1 else x
    return x[:, 0]


def a_graph(images=30, k=4, seed=0):
    rng = np.random.default_rng(seed)
    near = np.stack([rng.permutation(np.delete(np.arange(images), i))[:k] for i in range(images)])
    x = torch.tensor(rng.normal(size=(images, 5)), dtype=torch.float32)
    return near, rng.random((images, k)), x


def biased(widths, dropout):
    """Return a fresh network, with biases that are not 0."""
    network, generator = graph.build(widths, dropout, seed=1), torch.Generator().manual_seed(2)
    for layer in network.layers:
        torch.nn.init.normal_(layer.bias, generator=generator)
    return network


def test_a_convolution_by_hand():
    """Two nodes, an edge of weight 3 from 1 to 0: degrees 4 and 1."""
    found = graph.convolution(np.array([[1]]), np.array([[3.0]]), 2)
    np.testing.assert_allclose(found.toarray(), [[1 / 4, 3 / 2], [0, 1]])


def test_the_network_is_torch_geometrics_on_the_same_edges():
    near, weights, x = a_graph()
    network = biased((5, 6, 4, 1), 0.5)
    found, expected = graph.convolution(near, weights, 30), reference(network, x, near, weights)
    for nodes in (np.arange(30), np.array([7]), np.array([11, 3, 20])):
        outputs = network(*graph.view(found, x, nodes, 2)).detach()
        torch.testing.assert_close(outputs, expected[nodes])


def test_a_view_holds_only_what_its_nodes_can_see():
    """A chain, each node with its successor as neighbor: two convolutions after the first see two on."""
    near = np.minimum(np.arange(9)[:, None] + 1, 8)
    near[8] = 7
    found = graph.convolution(near, np.ones((9, 1)), 9)
    smoothed, graphs = graph.view(found, torch.eye(9), np.array([2, 0]), 2)
    assert smoothed.shape == (5, 9) and [tuple(g.shape) for g in graphs] == [(4, 5), (2, 4)]
    np.testing.assert_allclose(smoothed, found.toarray()[:5], rtol=1e-6)
    assert graphs[1].to_dense().count_nonzero(dim=1).tolist() == [2, 2]


def batches(near, size):
    """Yield the roots, the nodes and the edges of each batch, as the published sampler hands them out.

    The nodes are the roots and their neighbors, and edges lead to roots alone.
    """
    for start in range(0, len(near), size):
        roots = np.arange(start, min(start + size, len(near)))
        nodes = np.concatenate([roots, np.setdiff1d(near[roots], roots)])
        place = np.full(len(near), -1)
        place[nodes] = np.arange(len(nodes))
        yield roots, nodes, place[near[roots]]


@pytest.mark.parametrize("batch", [1, 4, 7, 30, 1000])
def test_one_hop_gives_each_batch_its_neighbors_and_nothing_beyond(batch):
    near, weights, x = a_graph()
    network = biased((5, 6, 4, 1), 0.5)
    expected = [
        reference(network, x[nodes], edges_, weights[roots])[: len(roots)]
        for roots, nodes, edges_ in batches(near, batch)
    ]
    found = graph.one_hop(near, weights, batch)
    outputs = network(*graph.view(found, torch.cat([x, x]), np.arange(30), 2)).detach()
    torch.testing.assert_close(outputs, torch.cat(expected))
    full = reference(network, x, near, weights)
    assert torch.allclose(outputs, full, atol=1e-4) == (batch >= 30)


def test_units_drop_out_only_with_a_generator():
    near, weights, x = a_graph()
    network = biased((5, 6, 1), 0.25)
    first, last = network.layers
    smoothed, (found,) = graph.view(graph.convolution(near, weights, 30), x, np.arange(30), 1)
    hidden = (smoothed @ first.lin.weight.T + first.bias).relu()
    kept = torch.rand(hidden.shape, generator=torch.Generator().manual_seed(3)) >= 0.25
    expected = found @ (hidden * kept / 0.75 @ last.lin.weight.T) + last.bias
    outputs = network(smoothed, [found], torch.Generator().manual_seed(3))
    torch.testing.assert_close(outputs, expected[:, 0])
    assert not torch.allclose(outputs, network(smoothed, [found]))


def test_correlation_is_pearsons_and_undefined_for_constants():
    a, b = np.random.default_rng(0).normal(size=(2, 20))
    assert graph.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert graph.correlation(a, np.ones(20)) == -np.inf
    assert graph.correlation(a[:1], b[:1]) == -np.inf


def naive(part, embeddings, labels, seeds, scores, near, weights, batch):
    """Train by torch-geometric's own layers, edge by edge: predictions and correlation of each epoch.

    batch: of the images to predict, which see their neighbors and no farther.
    """
    rng = np.random.default_rng(0)
    hot = functional.one_hot(torch.tensor(labels) + 1, len(CLASSES) + 1)[:, 1:]
    x = torch.cat([hot.float(), torch.tensor(embeddings)], dim=1)
    order = rng.permutation(len(seeds))
    count = share(len(seeds), part.validation)
    held_out, fitted = order[:count], order[count:]
    built = graph.build((x.shape[1], *part.hidden, 1), 0, int(rng.integers(2**63)))
    layers = torch.nn.ModuleList(graph.GCNConv(a.in_channels, a.out_channels) for a in built.layers)
    layers.load_state_dict(built.layers.state_dict())
    torch_generator(rng)
    optimizer = torch.optim.Adam(layers.parameters(), lr=part.lr)
    mean, deviation = scores.mean(), scores.std()
    wanted = torch.tensor((scores - mean) / deviation).float()

    def outputs(y, near, weights):
        index, values = edges(near, weights)
        for layer in layers[:-1]:
            y = layer(y, index, values).relu()
        return layers[-1](y, index, values)[:, 0]

    found = []
    for _ in range(part.epochs):
        for _ in range(part.steps):
            optimizer.zero_grad()
            functional.mse_loss(outputs(x, near, weights)[seeds[fitted]], wanted[fitted]).backward()
            optimizer.step()
        looks = [
            outputs(x[nodes], edges_, weights[roots])[: len(roots)]
            for roots, nodes, edges_ in batches(near, batch)
        ]
        predicted = mean + deviation * torch.cat(looks).detach().double().numpy()
        found.append((np.corrcoef(predicted[seeds[held_out]], scores[held_out])[0, 1], predicted))
    return found


@pytest.mark.parametrize(
    ("metric", "inference", "batch"),
    [
        ("euclidean", "full", 40),
        ("cosine", "full", 40),
        ("euclidean", "one_hop", 1),
        ("cosine", "one_hop", 7),
    ],
)
def test_the_network_learns_what_a_plain_loop_over_torch_geometric_learns(metric, inference, batch):
    """The epoch with the best correlation on the held-out images counts, which is not the last here."""
    embeddings, seeds, scores = cloud(seed=3)
    labels = np.full(40, -1)
    labels[seeds] = np.arange(len(seeds)) % 3
    settings = {"metric": metric, "inference": inference, "inference_batch": batch}
    part = short(dropout=0.0, validation=0.4, epochs=6, **settings)
    placed = embeddings
    if metric == "cosine":
        placed = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    search = kneighbors_graph(placed, 3, mode="distance")
    near, distances = search.indices.reshape(40, 3), search.data.reshape(40, 3)
    epochs = naive(part, embeddings, labels, seeds, scores, near, np.exp(-distances / 2), batch)
    best = int(np.argmax([agreement for agreement, _predicted in epochs]))
    assert best < len(epochs) - 1
    expected = epochs[best][1]
    expected[seeds] = scores
    found = extrapolate(part, embeddings, seeds, scores, labels=labels)
    np.testing.assert_allclose(found, expected, atol=1e-4)


# The published training


def hears(near, roots):
    """Return what the published sampler hands out for a mini-batch: nodes, roots first, and whose edges.

    It samples ten neighbors of each root, then ten of each of those; edges lead to whom it asked alone.
    """
    asked = list(dict.fromkeys([*roots, *near[roots].ravel()]))
    return list(dict.fromkeys([*asked, *near[asked].ravel()])), asked


def test_a_mini_batch_is_drawn_as_by_the_published_sampler():
    """A chain of nine, each node with its successor as neighbor: 0 hears 1 and 2, and 2 hears nobody."""
    near = np.minimum(np.arange(9)[:, None] + 1, 8)
    near[8] = 7
    found, nodes, roots = graph.sampled(near, np.ones((9, 1)), np.array([4, 0]), 2)
    assert nodes.tolist() == [0, 1, 4, 5, 2, 6] and roots.tolist() == [2, 0]
    half, root = 1 / 2, 1 / np.sqrt(2)  # a node with a neighbor has degree 2, one without 1
    np.testing.assert_allclose(
        found.toarray()[:4],
        [
            [half, half, 0, 0, 0, 0],
            [0, half, 0, 0, root, 0],
            [0, 0, half, half, 0, 0],
            [0, 0, 0, half, 0, root],
        ],
    )
    assert found.toarray()[4:].tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]


def as_published(part, x, seeds, scores, near, weights):
    """Train as gnn_extrapolate.py does: predictions and correlation of each epoch, draws as ours.

    Raw scores, mini-batches in an order drawn anew, Adam, convolutions that normalize the graph they are
    given; predictions in batches of images in order, each with its direct neighbors.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(len(seeds))
    count = int(part.validation * len(seeds))
    held_out, fitted = seeds[order[:count]], seeds[order[count:]]
    built = graph.build((x.shape[1], *part.hidden, 1), 0, int(rng.integers(2**63)))
    layers = torch.nn.ModuleList(graph.GCNConv(a.in_channels, a.out_channels) for a in built.layers)
    layers.load_state_dict(built.layers.state_dict())
    torch_generator(rng)
    optimizer = torch.optim.Adam(layers.parameters(), lr=part.lr)
    y = torch.zeros(len(x))
    y[seeds] = torch.tensor(scores).float()

    def outputs(nodes, asked):
        place = {node: number for number, node in enumerate(nodes)}
        index = torch.tensor([[place[s], place[t]] for t in asked for s in near[t]]).T
        values, h = torch.tensor(weights[asked].ravel()).float(), x[nodes]
        for layer in layers[:-1]:
            h = layer(h, index, values).relu()
        return layers[-1](h, index, values)[:, 0]

    found = []
    for _ in range(part.epochs):
        drawn = rng.permutation(len(fitted))
        for start in range(0, len(drawn), part.batch):
            roots = fitted[drawn[start : start + part.batch]]
            optimizer.zero_grad()
            functional.mse_loss(outputs(*hears(near, roots))[: len(roots)], y[roots]).backward()
            optimizer.step()
        looks = []
        for start in range(0, len(x), part.inference_batch):
            roots = list(range(start, min(start + part.inference_batch, len(x))))
            nodes = list(dict.fromkeys([*roots, *near[roots].ravel()]))
            looks.append(outputs(nodes, roots)[: len(roots)])
        predicted = torch.cat(looks).detach().double().numpy()
        found.append((np.corrcoef(predicted[held_out], y[held_out].numpy())[0, 1], predicted))
    return found


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_mini_batches_teach_what_the_published_loop_teaches(batch):
    embeddings, seeds, scores = cloud(seed=3)
    part = short(dropout=0.0, validation=0.4, epochs=6, lr=0.01, labels="none")
    part = replace(part, batch=batch, standardize=False, inference="one_hop", inference_batch=7)
    search = kneighbors_graph(embeddings, 3, mode="distance")
    near, distances = search.indices.reshape(40, 3), search.data.reshape(40, 3)
    weights = np.exp(-distances / 2)
    epochs = as_published(part, torch.tensor(embeddings), seeds, scores, near, weights)
    expected = max(epochs, key=lambda epoch: epoch[0])[1]
    expected[seeds] = scores
    np.testing.assert_allclose(extrapolate(part, embeddings, seeds, scores), expected, atol=1e-4)


def test_the_published_settings_find_a_smooth_score_again():
    """Of the scale of Dyn-Unc, learned as it is."""
    embeddings, _seeds, _scores = cloud(images=300, width=3)
    truth = 0.1 + 0.05 * np.tanh(embeddings[:, 0] - 2 * embeddings[:, 1])
    seeds = np.arange(0, 300, 5)
    part = replace(PUBLISHED, neighbors=3)
    found = extrapolate(replace(part, training="recipe"), embeddings, seeds, truth[seeds])
    rest = np.setdiff1d(np.arange(300), seeds)
    assert spearmanr(found[rest], truth[rest])[0] > 0.5


def published_inputs(images=48, recipe=None):
    """Return the inputs of a scorer that trains a network of its own: of two classes, a third is labeled."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(images) % 2)
    pixels = rng.integers(60, size=(images, 1, 8, 8))
    pixels[truth == 0, :, :4] += 120
    labels = np.where(np.arange(images) % 3 == 0, truth, -1)
    return {
        "images": Images(pixels.astype(np.uint8), mean=(0.3,), std=(0.2,)),
        "labels": labels,
        "classes": ("a", "b"),
        "recipe": recipe or Recipe(network="cnn", epochs=2, batch=8, warmup=0.2, weight_decay=0.1),
        "rng": np.random.default_rng(0),
        "device": "cpu",
        "progress": lambda _done, _total: None,
        "checkpoint": MemoryCheckpoint(),
    }


def test_the_published_settings_reach_the_training():
    recipe = Recipe(network="cnn", epochs=60, iterations=9, batch=128, warmup=0.2, crop=1, side=6)
    assert loop.published(recipe, PUBLISHED) == Recipe(
        **{"network": "cnn", "epochs": 50, "iterations": None, "batch": 256, "shrink_batch": True},
        **{"optimizer": "adam", "lr": 1e-3, "final_lr": 1e-3, "warmup": 0.0, "weight_decay": 0.0},
        **{"statistics_epochs": 1, "crop": 1, "side": 6},
    )


def test_the_network_is_trained_as_by_the_published_loop():
    """dynamic_uncertainty.py, of one batch per epoch: probabilities, and the features of the last weights.

    It calls model.eval() after the first epoch, when it looks at the test images, and never model.train().
    """
    given = published_inputs()
    part = replace(PUBLISHED, training_epochs=4, training_lr=0.01)
    dynamics, embeddings = loop.record(settings=part, **given)
    assert dynamics.index.tolist() == list(range(0, 48, 3))
    seed = int(np.random.default_rng(0).integers(2**63))
    network = networks.build("cnn", channels=1, classes=2, resolution=8, generator_seed=seed)
    everything = normalize(given["images"][:], (0.3,), (0.2,))
    data, target = everything[::3], torch.tensor(given["labels"][::3])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for epoch in range(4):
        output = network(data)
        loss = functional.cross_entropy(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probability = output.softmax(1)[torch.arange(16), target].detach().numpy()
        np.testing.assert_allclose(dynamics.label_probability[epoch], probability, atol=1e-4)
        network.eval()
    features = network.features(everything).detach().numpy()
    np.testing.assert_allclose(embeddings, features, atol=1e-3)


def test_embeddings_are_of_augmented_images():
    recipe = Recipe(network="cnn", epochs=1, crop=2)
    given = published_inputs(recipe=recipe)
    part = replace(PUBLISHED, training_epochs=1)
    with work.counted() as done:
        _dynamics, shifted = loop.record(settings=part, **given)
    assert done.images_forward == len(shifted)
    _dynamics, plain = loop.record(settings=part, **published_inputs())
    assert shifted.shape == plain.shape and not np.allclose(shifted, plain)


def test_a_network_of_its_own_needs_no_dynamics_and_embeddings_only_of_another_backbone():
    own = {"images", "labels", "classes", "recipe", "rng", "device", "progress", "checkpoint"}
    assert set(PUBLISHED.needs()) == own
    assert set(replace(PUBLISHED, labels="all").needs()) == own | {"known_labels"}
    assert set(replace(PUBLISHED, backbone="pixels").needs()) == own | {"embeddings"}
    assert set(replace(PUBLISHED, via="knn").needs()) == own


def test_a_killed_and_resumed_published_training_equals_an_undisturbed_one(monkeypatch):
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    part = replace(PUBLISHED, scorer=First(), training_epochs=3, training_batch=4, neighbors=3, epochs=2)
    whole = part.score(**published_inputs())
    given = published_inputs()

    def stop(done, _total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.score(**given | {"progress": stop})
    again = part.score(**published_inputs() | {"checkpoint": given["checkpoint"]})
    assert given["checkpoint"].state is not None
    np.testing.assert_array_equal(again, whole)


def test_the_methods_as_published_are_so_in_every_setting():
    found = {method.name: method for method in register_methods()}
    ours, published, leaky = (
        found[f"score_extrapolation{suffix}"] for suffix in ("", "_published", "_leaky")
    )
    assert ours.scorer == ScoreExtrapolation(scorer=DynUnc())
    assert published.scorer == PUBLISHED and published.labeler == NoLabeler(label_fraction=0.1)
    assert leaky.scorer == replace(PUBLISHED, labels="all") and leaky.labeler == Withheld()


def test_without_images_to_validate_on_the_last_epoch_counts():
    embeddings, seeds, scores = cloud()
    part = short(dropout=0.0, validation=0.0)
    longer = [extrapolate(replace(part, epochs=e), embeddings, seeds, scores) for e in (1, 2, 3)]
    assert not np.allclose(longer[0], longer[2])
    same = extrapolate(replace(part, epochs=1, steps=6), embeddings, seeds, scores)
    np.testing.assert_array_equal(longer[2], same)
