"""Score extrapolation, by neighbors and by a network; the labeler of its published leak."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

from prunebench.errors import DivergedError, PrunebenchError
from prunebench.parts.artefacts import Scores
from prunebench.parts.base import Scorer
from prunebench.parts.conformance import conform
from prunebench.parts.method import Method
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.withheld import Withheld
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.score_extrapolation import graph
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation
from prunebench_plugins.selectors.top import Top
from tests.plugins import extrapolation
from tests.plugins.extrapolation import First, cloud, record, short


@pytest.fixture
def extrapolate(device):
    return partial(extrapolation.extrapolate, device=device)


# Means of neighbors


def test_the_mean_of_neighbors_by_hand(extrapolate):
    line = [[0], [10], [1], [7], [100]]
    one = extrapolate(ScoreExtrapolation(via="knn", neighbors=1), line, [0, 1], [1, 3])
    two = extrapolate(ScoreExtrapolation(via="knn", neighbors=2), line, [0, 1], [1, 3])
    assert one.tolist() == [1, 3, 1, 3, 3]
    assert two.tolist() == [1, 3, 2, 2, 2]


def test_the_weighted_mean_of_neighbors_by_hand(extrapolate):
    """Image 2 is at distances 1 and 2 of scores 1 and 3, so these weigh e and 1."""
    part = ScoreExtrapolation(via="knn_weighted", neighbors=2)
    scores = extrapolate(part, [[0], [3], [1]], [0, 1], [1, 3])
    np.testing.assert_allclose(scores, [1, 3, (np.e + 3) / (np.e + 1)], rtol=1e-6)


@pytest.mark.parametrize("via", ["knn", "knn_weighted"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("bytes_", [2**28, 1])
def test_the_means_are_those_of_scikit_learns_neighbors(extrapolate, via, metric, bytes_, monkeypatch):
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


def test_the_neighbors_are_given_nearest_first_with_their_distances(device):
    line = np.array([[0.0], [4], [10], [3]], np.float32)
    near, distances = graph.nearest_seeds(
        line, np.array([0, 1, 2]), np.array([3]), 3, metric="euclidean", device=device
    )
    assert near.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(distances, [[1, 3, 7]], rtol=1e-6)


def test_neighbors_are_told_apart_far_from_the_origin(extrapolate):
    """Where the products of single-precision numbers are wrong by more than the gaps."""
    embeddings, seeds, scores = cloud()
    part = ScoreExtrapolation(via="knn", neighbors=2)
    near = extrapolate(part, embeddings, seeds, scores)
    assert extrapolate(part, embeddings + 5000, seeds, scores).tolist() == near.tolist()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbors_among_near_copies_are_right(metric, device):
    """Where products of single-precision numbers are wrong by more than the gaps."""
    source = np.random.default_rng(0)
    scenes = np.repeat(source.normal(size=(20, 64)), 10, axis=0)
    vectors = (scenes + 1e-3 * source.normal(size=scenes.shape)).astype(np.float32)
    others = np.arange(0, 200, 5)
    seeds = np.setdiff1d(np.arange(200), others)
    exact = vectors.astype(np.float64)
    exact = graph.unit(exact) if metric == "cosine" else exact
    expected = (
        NearestNeighbors(n_neighbors=4, algorithm="brute").fit(exact[seeds]).kneighbors(exact[others])[1]
    )
    near, distances = graph.nearest_seeds(vectors, seeds, others, 4, metric=metric, device=device)
    assert (near == expected).mean() > 0.98  # unit vectors are rounded to float32
    gaps = np.linalg.norm(vectors[others, None].astype(np.float64) - vectors[seeds[near]], axis=2)
    np.testing.assert_allclose(distances, gaps, rtol=2e-3)


def test_neighbors_too_far_for_an_exponential_still_weigh(extrapolate):
    part = ScoreExtrapolation(via="knn_weighted", neighbors=2)
    scores = extrapolate(part, [[0], [3e5], [1e5]], [0, 1], [1, 3])
    assert scores.tolist() == [1, 3, 1]


def test_images_that_are_equal_get_the_mean_of_their_neighbors(extrapolate):
    embeddings = np.ones((6, 2))
    for via in ("knn", "knn_weighted"):
        part = ScoreExtrapolation(via=via, neighbors=3)
        assert extrapolate(part, embeddings, [0, 2, 4], [1, 2, 6])[[1, 3, 5]].tolist() == [3, 3, 3]


def test_a_zero_vector_has_no_direction_and_is_no_trouble(extrapolate):
    embeddings, seeds, scores = cloud()
    embeddings[seeds[3]] = embeddings[np.setdiff1d(np.arange(40), seeds)[0]] = 0
    for part in (ScoreExtrapolation(via="knn", neighbors=2, metric="cosine"), short(metric="cosine")):
        assert np.isfinite(extrapolate(part, embeddings, seeds, scores)).all()


# What both ways share


@pytest.mark.parametrize("part", [short(), ScoreExtrapolation(via="knn", neighbors=3)])
def test_scored_images_keep_their_scores(extrapolate, part):
    embeddings, seeds, scores = cloud()
    found = extrapolate(part, embeddings, seeds, scores)
    assert found.shape == (40,) and np.isfinite(found).all() and found.dtype == np.float64
    assert found[seeds].tolist() == scores.astype(np.float32).tolist()
    assert len(np.unique(np.delete(found, seeds))) > 15


@pytest.mark.parametrize("part", [ScoreExtrapolation(), ScoreExtrapolation(via="knn")])
def test_with_every_image_scored_nothing_is_extrapolated(extrapolate, part):
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
def test_a_score_that_is_smooth_over_the_embeddings_is_found_again(extrapolate, part):
    embeddings, _seeds, _scores = cloud(images=300, width=3)
    truth = np.tanh(embeddings[:, 0] - 2 * embeddings[:, 1]) / 100 + 5  # of a scale far from 1
    seeds = np.arange(0, 300, 5)
    found = extrapolate(part, embeddings, seeds, truth[seeds])
    rest = np.setdiff1d(np.arange(300), seeds)
    assert spearmanr(found[rest], truth[rest])[0] > 0.7
    assert abs(found[rest].mean() - truth.mean()) < 0.005


@pytest.mark.parametrize("part", [short(validation=0.5), ScoreExtrapolation(via="knn_weighted", neighbors=3)])
def test_a_constant_score_stays_constant(extrapolate, part):
    embeddings, seeds, _scores = cloud()
    np.testing.assert_allclose(extrapolate(part, embeddings, seeds, np.full(13, 0.25)), 0.25, rtol=1e-12)


def test_a_graph_of_images_far_apart_is_no_trouble(extrapolate):
    """Every weight is 0, and each image stands alone."""
    embeddings, seeds, scores = cloud()
    found = extrapolate(short(lr=1e-4), embeddings * 1e4, seeds, scores)
    assert np.isfinite(found).all()


def test_equal_seeds_give_equal_scores_and_the_global_generator_stays_as_it_was():
    embeddings, seeds, scores = cloud()
    extrapolated = partial(extrapolation.extrapolate, short(), embeddings, seeds, scores)
    before = torch.random.get_rng_state()
    first = extrapolated()
    torch.rand(3)
    torch.random.set_rng_state(before)
    assert np.array_equal(first, extrapolated())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    assert np.array_equal(first, extrapolated())
    assert not np.allclose(first, extrapolated(seed=1))


def test_every_epoch_is_reported(extrapolate):
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
    extrapolation.extrapolate(
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


def test_all_labels_have_to_be_annotated(extrapolate):
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
def test_it_keeps_the_contract(device, via, training):
    conform(ScoreExtrapolation(via=via, hidden=(8,), epochs=2, training=training), device)


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
def test_too_few_images_are_one_line(extrapolate, part, images, index, message):
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


def test_a_loss_that_is_not_finite_is_one_line(extrapolate):
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
