"""Score extrapolation, by neighbors and by a network on their graph; the labeler of its published leak."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors, kneighbors_graph
from torch.nn import functional

from prunebench.errors import DivergedError, PrunebenchError
from prunebench.nn import networks
from prunebench.nn.augment import normalize
from prunebench.parts.artefacts import Dynamics, Scores
from prunebench.parts.base import Scorer
from prunebench.parts.conformance import conform
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import share
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.withheld import Withheld
from prunebench_plugins.methods import register_methods
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.score_extrapolation import graph, loop
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation
from prunebench_plugins.selectors.top import Top

CLASSES = ("a", "b", "c")
PUBLISHED = ScoreExtrapolation(
    **{"scorer": DynUnc(start=2), "training": "published", "training_epochs": 50, "training_batch": 256},
    **{"training_lr": 1e-3, "epochs": 35, "batch": 128, "lr": 1e-3, "standardize": False},
    **{"inference": "one_hop", "inference_batch": 1024},
)


@dataclass(frozen=True, kw_only=True)
class First(Scorer):
    """The recorded probability of the label, in the first epoch."""

    name = "first"

    def score(self, dynamics):
        return dynamics.label_probability[0].astype(float)


def record(images, index, scores):
    """Return dynamics in which `First` finds these scores of the images in `index`."""
    series = dict.fromkeys(Dynamics.series, np.array([scores], np.float32))
    return Dynamics(images=images, index=np.array(index), **series)


def extrapolate(part, embeddings, index, scores, *, labels=None, known_labels=None, seed=0, progress=None):
    """Return what `part` makes of the scores of a few images; by default the labels of these are 0."""
    part = replace(part, scorer=First())
    embeddings = np.asarray(embeddings, np.float32)
    if labels is None:
        labels = np.full(len(embeddings), -1)
        labels[index] = 0
    everything = {
        "dynamics": record(len(embeddings), index, scores),
        "embeddings": embeddings,
        "device": "cpu",
        "classes": CLASSES,
        "labels": labels,
        "known_labels": labels if known_labels is None else known_labels,
        "rng": np.random.default_rng(seed),
        "progress": progress or (lambda _done, _total: None),
    }
    for value in everything.values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    return part.score(**{name: everything[name] for name in part.needs()})


def cloud(images=40, seeds=13, width=5, seed=0):
    """Return embeddings, the sorted places of a few scored images, and their scores."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(1, 1, (images, width)).astype(np.float32)
    return embeddings, np.sort(rng.permutation(images)[:seeds]), rng.random(seeds)


def short(**fields):
    """Return a graph network that is quickly trained."""
    settings = {"via": "gnn", "neighbors": 3, "hidden": (6, 4), "epochs": 3, "steps": 2, "lr": 0.05}
    return ScoreExtrapolation(**settings | fields)


# Means of neighbors


def test_the_mean_of_neighbors_by_hand():
    line = [[0], [10], [1], [7], [100]]
    one = extrapolate(ScoreExtrapolation(via="knn", neighbors=1), line, [0, 1], [1, 3])
    two = extrapolate(ScoreExtrapolation(via="knn", neighbors=2), line, [0, 1], [1, 3])
    assert one.tolist() == [1, 3, 1, 3, 3]
    assert two.tolist() == [1, 3, 2, 2, 2]


def test_the_weighted_mean_of_neighbors_by_hand():
    """Image 2 is at distances 1 and 2 of scores 1 and 3, so these weigh e and 1."""
    part = ScoreExtrapolation(via="knn_weighted", neighbors=2)
    scores = extrapolate(part, [[0], [3], [1]], [0, 1], [1, 3])
    np.testing.assert_allclose(scores, [1, 3, (np.e + 3) / (np.e + 1)], rtol=1e-6)


@pytest.mark.parametrize("via", ["knn", "knn_weighted"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("bytes_", [2**28, 1])
def test_the_means_are_those_of_scikit_learns_neighbors(via, metric, bytes_, monkeypatch):
    monkeypatch.setattr(graph, "CHUNK_BYTES", bytes_)
    embeddings, seeds, scores = cloud()
    part = ScoreExtrapolation(via=via, neighbors=4, metric=metric)
    search = NearestNeighbors(n_neighbors=4, metric=metric).fit(embeddings[seeds])
    expected = np.zeros(40)
    for image, near in enumerate(search.kneighbors(embeddings, return_distance=False)):
        gaps = np.array([np.linalg.norm(embeddings[image] - embeddings[seed]) for seed in seeds[near]])
        weights = np.exp(-gaps) if via == "knn_weighted" else np.ones(4)
        expected[image] = (weights * scores[near]).sum() / weights.sum()
    expected[seeds] = scores
    np.testing.assert_allclose(extrapolate(part, embeddings, seeds, scores), expected, rtol=1e-4)


def test_the_neighbors_are_given_nearest_first_with_their_distances():
    line = np.array([[0.0], [4], [10], [3]], np.float32)
    near, distances = graph.nearest_seeds(
        line, np.array([0, 1, 2]), np.array([3]), 3, metric="euclidean", device="cpu"
    )
    assert near.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(distances, [[1, 3, 7]], rtol=1e-6)


def test_neighbors_are_told_apart_far_from_the_origin():
    """Where the products of single-precision numbers are wrong by more than the gaps."""
    embeddings, seeds, scores = cloud()
    part = ScoreExtrapolation(via="knn", neighbors=2)
    near = extrapolate(part, embeddings, seeds, scores)
    assert extrapolate(part, embeddings + 5000, seeds, scores).tolist() == near.tolist()


def test_neighbors_too_far_for_an_exponential_still_weigh():
    part = ScoreExtrapolation(via="knn_weighted", neighbors=2)
    scores = extrapolate(part, [[0], [3e5], [1e5]], [0, 1], [1, 3])
    assert scores.tolist() == [1, 3, 1]


def test_images_that_are_equal_get_the_mean_of_their_neighbors():
    embeddings = np.ones((6, 2))
    for via in ("knn", "knn_weighted"):
        part = ScoreExtrapolation(via=via, neighbors=3)
        assert extrapolate(part, embeddings, [0, 2, 4], [1, 2, 6])[[1, 3, 5]].tolist() == [3, 3, 3]


def test_a_zero_vector_has_no_direction_and_is_no_trouble():
    embeddings, seeds, scores = cloud()
    embeddings[seeds[3]] = embeddings[np.setdiff1d(np.arange(40), seeds)[0]] = 0
    for part in (ScoreExtrapolation(via="knn", neighbors=2, metric="cosine"), short(metric="cosine")):
        assert np.isfinite(extrapolate(part, embeddings, seeds, scores)).all()


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
    _dynamics, shifted = loop.record(settings=part, **given)
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


# What both ways share


@pytest.mark.parametrize("part", [short(), ScoreExtrapolation(via="knn", neighbors=3)])
def test_scored_images_keep_their_scores(part):
    embeddings, seeds, scores = cloud()
    found = extrapolate(part, embeddings, seeds, scores)
    assert found.shape == (40,) and np.isfinite(found).all() and found.dtype == np.float64
    assert found[seeds].tolist() == scores.astype(np.float32).tolist()
    assert len(np.unique(np.delete(found, seeds))) > 15


@pytest.mark.parametrize("part", [ScoreExtrapolation(), ScoreExtrapolation(via="knn")])
def test_with_every_image_scored_nothing_is_extrapolated(part):
    """Not even the settings are looked at: three images have no ten neighbors."""
    assert extrapolate(part, np.eye(3), [0, 1, 2], [3, 1, 2]).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "part",
    [
        short(hidden=(64, 32), epochs=10, lr=1e-3),
        short(hidden=(64, 32), epochs=10, lr=1e-3, inference="one_hop"),
        short(hidden=(64, 32), epochs=10, lr=1e-3, metric="cosine", labels="none"),
        ScoreExtrapolation(via="knn", neighbors=5),
        ScoreExtrapolation(via="knn_weighted", neighbors=5),
    ],
)
def test_a_score_that_is_smooth_over_the_embeddings_is_found_again(part):
    embeddings, _seeds, _scores = cloud(images=300, width=3)
    truth = np.tanh(embeddings[:, 0] - 2 * embeddings[:, 1]) / 100 + 5  # of a scale far from 1
    seeds = np.arange(0, 300, 5)
    found = extrapolate(part, embeddings, seeds, truth[seeds])
    rest = np.setdiff1d(np.arange(300), seeds)
    assert spearmanr(found[rest], truth[rest])[0] > 0.7
    assert abs(found[rest].mean() - truth.mean()) < 0.005


@pytest.mark.parametrize("part", [short(validation=0.5), ScoreExtrapolation(via="knn_weighted", neighbors=3)])
def test_a_constant_score_stays_constant(part):
    embeddings, seeds, _scores = cloud()
    np.testing.assert_allclose(extrapolate(part, embeddings, seeds, np.full(13, 0.25)), 0.25, rtol=1e-12)


def test_a_graph_of_images_far_apart_is_no_trouble():
    """Every weight is 0, and each image stands alone."""
    embeddings, seeds, scores = cloud()
    found = extrapolate(short(lr=1e-4), embeddings * 1e4, seeds, scores)
    assert np.isfinite(found).all()


def test_equal_seeds_give_equal_scores_and_the_global_generator_stays_as_it_was():
    embeddings, seeds, scores = cloud()
    before = torch.random.get_rng_state()
    first = extrapolate(short(), embeddings, seeds, scores)
    torch.rand(3)
    torch.random.set_rng_state(before)
    assert np.array_equal(first, extrapolate(short(), embeddings, seeds, scores))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    assert np.array_equal(first, extrapolate(short(), embeddings, seeds, scores))
    assert not np.allclose(first, extrapolate(short(), embeddings, seeds, scores, seed=1))


def test_every_epoch_is_reported():
    embeddings, seeds, scores = cloud()
    told = []
    extrapolate(short(), embeddings, seeds, scores, progress=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


# Labels in the features


def features(monkeypatch, part, labels, known_labels):
    """Return the features that the network gets; the images 1 and 3 of four are scored."""
    seen = []

    def learned(given, *_arguments, **_options):
        seen.append(given)
        return np.zeros(4)

    monkeypatch.setattr(graph, "learn", learned)
    extrapolate(
        part, np.eye(4, 2), [1, 3], [0, 1], labels=np.array(labels), known_labels=np.array(known_labels)
    )
    return seen[0].tolist()


def test_the_features_hold_the_labels_that_were_asked_for(monkeypatch):
    labels, known_labels = [-1, 2, -1, 0], [1, 2, 1, 0]
    embeddings = np.eye(4, 2).tolist()
    assert features(monkeypatch, short(labels="none"), labels, known_labels) == embeddings
    assert features(monkeypatch, short(labels="annotated"), labels, known_labels) == [
        [*hot, *own]
        for hot, own in zip([[0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]], embeddings, strict=True)
    ]
    assert features(monkeypatch, short(labels="all"), labels, known_labels) == [
        [*hot, *own]
        for hot, own in zip([[0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]], embeddings, strict=True)
    ]


def test_all_labels_have_to_be_annotated():
    embeddings, seeds, scores = cloud()
    with pytest.raises(PrunebenchError) as error:
        extrapolate(short(labels="all"), embeddings, seeds, scores)
    assert str(error.value) == (
        "score_extrapolation.labels is 'all', but 27 of 40 images are not annotated; "
        "take the labeler 'withheld', or labels 'annotated'"
    )


def test_it_needs_what_its_way_and_the_held_scorer_need():
    common = {"dynamics", "embeddings", "device"}
    assert set(ScoreExtrapolation(via="knn").needs()) == common
    assert set(ScoreExtrapolation(labels="none").needs()) == common | {"rng", "progress"}
    assert set(ScoreExtrapolation().needs()) == common | {"rng", "progress", "classes", "labels"}
    assert set(ScoreExtrapolation(labels="all").needs()) == common | {
        "rng",
        "progress",
        "classes",
        "known_labels",
    }

    @dataclass(frozen=True, kw_only=True)
    class Wants(Scorer):
        name = "wants"

        def score(self, dynamics, images, labels, recipe=None, device="cpu"):
            return dynamics.label_probability[0] + labels[dynamics.index] + len(images)

    part = ScoreExtrapolation(scorer=Wants(), via="knn", neighbors=1)
    assert part.needs() == dict.fromkeys([*common, "images", "labels"], True) | {"recipe": False}
    given = {"images": "xyz", "labels": np.array([1, -1, 2]), "embeddings": np.array([[0.0], [1], [4]])}
    found = part.score(dynamics=record(3, [0, 2], [0.5, 0.25]), device="cpu", **given)
    assert found.tolist() == [4.5, 4.5, 5.25]


# The contract


@pytest.mark.parametrize("via", ["gnn", "knn", "knn_weighted"])
@pytest.mark.parametrize("training", ["recipe", "published"])
def test_it_keeps_the_contract(via, training):
    conform(ScoreExtrapolation(via=via, hidden=(8,), epochs=2, training=training))


@pytest.mark.parametrize(
    ("part", "labeler"),
    [
        (short(), NoLabeler(label_fraction=0.5)),
        (short(labels="all", inference="one_hop"), Withheld(shown=0.5)),
        (short(labels="all", batch=4, training="published", training_epochs=2), Withheld(shown=0.5)),
        (ScoreExtrapolation(via="knn", neighbors=3), NoLabeler(label_fraction=0.5)),
    ],
)
def test_it_runs_in_a_method_whose_ledger_knows_every_label(part, labeler, matrix, make, store, offer):
    offer(First, owner="us")
    method = Method("m", title="M", labeler=labeler, scorer=replace(part, scorer=First()), selector=Top())
    made = make(matrix(method))
    assert made.failures == {}
    (scores,) = [store.read(stage.key, Scores).values for stage in made.stages if stage.kind == "scores"]
    assert len(np.unique(scores)) > 32
    assert [row.labels_selection for row in made.rows] == [64 * labeler.label_fraction]


@pytest.mark.parametrize(
    ("part", "images", "index", "message"),
    [
        (ScoreExtrapolation(), 8, [0, 1], "neighbors is 10, but an image has 7 other images; lower it or"),
        (ScoreExtrapolation(via="knn"), 8, [0, 1], "neighbors is 20, but an image has 2 scored images; lo"),
        (short(), 8, [3], "needs two scored images or more to learn from, but has 1; raise the labeler's la"),
    ],
)
def test_too_few_images_are_one_line(part, images, index, message):
    with pytest.raises(PrunebenchError, match=f"^score_extrapolation[. ]{message}"):
        extrapolate(part, np.eye(images), index, [0.5] * len(index))


def test_scores_of_another_length_are_one_line():
    @dataclass(frozen=True, kw_only=True)
    class Odd(Scorer):
        name = "odd"

        def score(self, dynamics):
            return np.zeros(7)

    part = ScoreExtrapolation(scorer=Odd(), via="knn")
    with pytest.raises(
        PrunebenchError, match=r"'odd' returned scores of shape \(7,\), expected one for each of"
    ):
        part.score(dynamics=record(9, [0, 1], [1, 2]), embeddings=np.eye(9), device="cpu")


def test_a_loss_that_is_not_finite_is_one_line():
    embeddings, seeds, scores = cloud()
    with pytest.raises(
        DivergedError, match=r"in epoch 1 of 3; lower score_extrapolation\.lr, which is 1e\+20"
    ):
        extrapolate(short(lr=1e20), embeddings, seeds, scores)


@dataclass(frozen=True, kw_only=True)
class Static(Scorer):
    name = "static"
    backbone: str = "pixels"

    def score(self, embeddings):
        return embeddings[:, 0]


@pytest.mark.parametrize(
    ("make_part", "message"),
    [
        (lambda: ScoreExtrapolation(via="gcn"), "via is 'gcn', expected one of gnn, knn, knn_weighted"),
        (lambda: ScoreExtrapolation(metric="l1"), "metric is 'l1', expected one of euclidean, cosine"),
        (lambda: ScoreExtrapolation(labels="true"), "labels is 'true', expected one of annotated, all, none"),
        (lambda: ScoreExtrapolation(inference="two"), "inference is 'two', expected one of full, one_hop"),
        (lambda: ScoreExtrapolation(scorer=Static()), "scorer is 'static', expected a scorer of dynamics"),
        (lambda: ScoreExtrapolation(neighbors=0), "neighbors is 0, expected above 0, or unset"),
        (lambda: ScoreExtrapolation(hidden=(8, 0)), r"hidden is \(8, 0\), expected sizes above 0"),
        (lambda: ScoreExtrapolation(dropout=1), r"dropout is 1, expected in 0\.\.1, below 1"),
        (lambda: ScoreExtrapolation(validation=-0.1), r"validation is -0\.1, expected in 0\.\.1, below 1"),
        (lambda: ScoreExtrapolation(epochs=0), "epochs is 0, expected above 0"),
        (lambda: ScoreExtrapolation(steps=0), "steps is 0, expected above 0"),
        (lambda: ScoreExtrapolation(batch=0), "batch is 0, expected above 0, or unset"),
        (lambda: ScoreExtrapolation(training="own"), "training is 'own', expected one of recipe, published"),
        (lambda: ScoreExtrapolation(training_epochs=0), "training_epochs is 0, expected above 0"),
        (
            lambda: ScoreExtrapolation(training="published", backbone=("proxy", "pixels")),
            r"backbone is \('proxy', 'pixels'\), expected 'proxy' alone, or other backbones, if training is",
        ),
        (lambda: ScoreExtrapolation(lr=0), "lr is 0, expected above 0"),
        (lambda: ScoreExtrapolation(inference_batch=0), "inference_batch is 0, expected above 0"),
    ],
)
def test_bad_fields_are_one_line(make_part, message):
    with pytest.raises(PrunebenchError, match=rf"^score_extrapolation\.{message}"):
        make_part()


def test_the_defaults_are_those_of_the_paper_where_it_has_them():
    part = ScoreExtrapolation()
    assert (part.scorer, part.backbone, part.via, part.metric) == (Dual(), "proxy", "gnn", "euclidean")
    assert (part.hidden, part.dropout, part.epochs, part.lr) == ((512, 256), 0.5, 35, 1e-3)


# Withheld


def test_withheld_shows_a_share_of_what_was_annotated():
    known_labels = np.arange(50) % 5
    found = Withheld(shown=0.3).label(known_labels, np.random.default_rng(0))
    shown = np.flatnonzero(found >= 0)
    assert len(shown) == 15 and (found[shown] == known_labels[shown]).all()
    assert (np.delete(found, shown) == -1).all()
    again, other = (Withheld(shown=0.3).label(known_labels, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.array_equal(found, again) and not np.array_equal(found, other)


def test_withheld_shows_every_image_equally_often():
    shown = [Withheld().label(np.zeros(20, int), np.random.default_rng(seed)) >= 0 for seed in range(1000)]
    counts = np.sum(shown, axis=0)
    assert counts.sum() == 2000 and counts.min() > 60 and counts.max() < 145


def test_withheld_buys_all_and_guesses_nothing():
    conform(Withheld())
    assert Withheld().label_fraction == 1 and not Withheld.makes_pseudo_labels


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"label_fraction": 0.5},
            r"withheld\.label_fraction is 0\.5, expected 1: all are annotated, and some shown",
        ),
        ({"shown": 1.5}, r"withheld\.shown is 1\.5, expected in 0\.\.1"),
    ],
)
def test_withheld_refuses_other_shares(fields, message):
    with pytest.raises(PrunebenchError, match=message):
        Withheld(**fields)
