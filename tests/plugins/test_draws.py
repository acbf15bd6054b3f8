"""Draws: each beside a slow restatement of its formula, its order, and images that are equal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from prunebench.errors import PrunebenchError
from prunebench.nn.neighbors import kmeans
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins.draws import probcover, sphere
from prunebench_plugins.draws.kcenter import KCenterDraw
from prunebench_plugins.draws.probcover import ProbCover, balls, cover, squared_radius
from prunebench_plugins.draws.sphere import shuffled, squares
from prunebench_plugins.draws.turns import in_turn
from prunebench_plugins.draws.typiclust import TypiClust, mean_distances
from prunebench_plugins.draws.uniform import Uniform
from prunebench_plugins.draws.usl import Usl
from prunebench_plugins.draws.zcore import ZcoreDraw
from prunebench_plugins.scorers.zcore.part import Zcore
from prunebench_plugins.selectors.k_center import KCenter

QUICK = ZcoreDraw(rounds=2000, neighbors=20)
PARTS = [KCenterDraw(), ProbCover(), TypiClust(), Uniform(), Usl(), QUICK]
NESTED = [KCenterDraw(), ProbCover(), Uniform(), QUICK]
BY_PLACE = [KCenterDraw(), ProbCover(), TypiClust(), Usl()]  # those that look for places that no draw is near
named = {"ids": lambda part: part.name}


def rng(seed=0):
    return np.random.default_rng(seed)


def silent(done, total):
    pass


@pytest.fixture
def draw(device):
    def drawn(part, embeddings, count, seed=0, labeled=None):
        embeddings = np.asarray(embeddings, np.float32)
        inputs = {
            "names": tuple(map(str, range(len(embeddings)))),
            "embeddings": embeddings,
            "count": count,
            "labeled": labeled,
            "rng": rng(seed),
            "device": device,
            "progress": silent,
            "checkpoint": MemoryCheckpoint(),
        }
        return part.draw(**{name: inputs[name] for name in part.needs()})

    return drawn


def clouds(count=90, seed=0, width=5):
    """Return points of three clouds of different sizes, in no order."""
    centers = rng(7).normal(0, 3, (3, width))
    return centers[np.minimum(np.arange(count) % 6, 2)] + rng(seed).normal(size=(count, width))


# What holds for all


@pytest.mark.parametrize("part", PARTS, **named)
@pytest.mark.parametrize("count", [1, 2, 31, 89, 90])
def test_a_draw_is_as_long_as_asked_and_draws_nothing_twice(draw, part, count):
    order = draw(part, clouds(), count)
    assert order.shape == (count,) and order.dtype.kind == "i"
    assert len(set(order)) == count and set(order) <= {*range(90)}


@pytest.mark.parametrize("part", PARTS, **named)
def test_a_seed_gives_a_draw_and_another_seed_another(draw, part):
    first, again, other = (draw(part, clouds(), 20, seed).tolist() for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("part", NESTED, **named)
def test_the_draws_of_a_seed_are_nested(draw, part):
    large, small = (draw(part, clouds(), count, seed=2) for count in (60, 11))
    assert large[:11].tolist() == small.tolist()


@pytest.mark.parametrize("part", [Uniform(), *BY_PLACE], **named)
@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images(draw, part, images):
    for count in range(1, images + 1):
        assert len({*draw(part, np.eye(images, 4) + np.arange(4), count)}) == count


@pytest.mark.parametrize("part", BY_PLACE, **named)
@pytest.mark.parametrize("count", [5, 40, 60])
def test_no_place_is_drawn_twice_before_every_place_once(draw, part, count):
    """Five places, twelve copies of each. There are more clusters than places."""
    places = np.repeat(np.vstack([np.eye(4), -np.ones((1, 4))]), 12, axis=0)
    for seed in range(5):
        order = draw(part, places, count, seed)
        assert {*(order[:5] // 12)} == {0, 1, 2, 3, 4}
        assert len({*order}) == count


@pytest.mark.parametrize("part", [Uniform(), *BY_PLACE], **named)
def test_images_that_are_all_equal_are_drawn_at_random(draw, part):
    first, second = (draw(part, np.ones((200, 3)), 50, seed) for seed in (0, 1))
    assert len({*first}) == 50 and {*first} != {*second}
    assert 60 < first.mean() < 140


@pytest.mark.parametrize("part", [ProbCover(), TypiClust(), Usl()], **named)
def test_the_length_of_an_embedding_says_nothing(draw, part):
    lengths = 2.0 ** rng(5).integers(-3, 4, size=(90, 1))  # powers of two, which round nothing
    assert draw(part, clouds(), 30).tolist() == draw(part, clouds() * lengths, 30).tolist()


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (TypiClust, {"clusters": 0}, "typiclust.clusters is 0, expected above 0"),
        (TypiClust, {"neighbors": 0}, "typiclust.neighbors is 0, expected above 0"),
        (TypiClust, {"smallest": 0}, "typiclust.smallest is 0, expected above 0"),
        (Usl, {"rounds": 0}, "usl.rounds is 0, expected above 0"),
        (Usl, {"momentum": 1.0}, "usl.momentum is 1.0, expected in 0..1, below 1"),
        (Usl, {"weight": -1.0}, "usl.weight is -1.0, expected 0 or more"),
        (ProbCover, {"purity": 0.0}, "probcover.purity is 0.0, expected above 0, at most 1"),
        (ProbCover, {"classes": 0}, "probcover.classes is 0, expected above 0"),
        (KCenterDraw, {"metric": "l1"}, "kcenter.metric is 'l1', expected 'euclidean' or 'cosine'"),
        (ZcoreDraw, {"rounds": 0}, "zcore.rounds is 0, expected above 0"),
    ],
)
def test_a_value_out_of_range_is_one_line(part, values, message):
    with pytest.raises(PrunebenchError) as error:
        part(**values)
    assert str(error.value) == message


# Turns and blocks


def test_clusters_take_turns_the_largest_first():
    clusters = np.array([0, 1, 1, 2, 1, 2])
    merit = np.array([9.0, 1, 3, 5, 2, 5])
    assert in_turn(clusters, merit).tolist() == [2, 3, 0, 4, 5, 1]
    assert in_turn(clusters, merit, smallest=2).tolist() == [2, 3, 4, 5, 1, 0]
    assert in_turn(clusters, merit, smallest=3).tolist() == [2, 4, 1, 3, 0, 5]


@pytest.mark.parametrize("chunk", [1, 50, 2**26])
def test_blocks_hold_all_squared_distances(monkeypatch, chunk):
    monkeypatch.setattr(sphere, "CHUNK", chunk)
    points = torch.tensor(shuffled(clouds(20), rng())[1])
    rows, found = zip(*squares(points, points[:7]), strict=True)
    assert rows[-1].stop == 20 and len(rows) == {1: 20, 50: 3}.get(chunk, 1)
    np.testing.assert_allclose(torch.cat(found), cdist(points, points[:7], "sqeuclidean"), atol=1e-5)


def test_a_zero_vector_stays_zero():
    order, points = shuffled(np.array([[0.0, 0], [3, 4]]), rng())
    assert points[order == 0].tolist() == [[0, 0]]
    np.testing.assert_allclose(points[order == 1], [[0.6, 0.8]], rtol=1e-6)


def test_zcore_refuses_images_that_are_all_equal(draw):
    with pytest.raises(PrunebenchError, match=r"zcore.sample_dim is 2, but 0 of the 3 dimensions"):
        draw(QUICK, np.ones((20, 3)), 5)


# TypiClust


def typical_by_hand(points, clusters, count, neighbors=20, smallest=6, labeled=()):
    """Restate the rule: the cluster with the fewest labels, of these the largest, and its most typical."""
    left = {c: [i for i in range(len(points)) if clusters[i] == c] for c in range(max(clusters) + 1)}
    sizes = {c: len(members) for c, members in left.items()}
    typicality = {}
    for members in left.values():
        for i in members:
            gaps = sorted(np.linalg.norm(points[i] - points[j]) for j in members if j != i)
            near = gaps[: min(neighbors, len(members) // 2)]
            typicality[i] = 1 / (np.mean(near) + 1e-9) if near else np.inf
    left = {c: [i for i in members if i not in labeled] for c, members in left.items()}
    drawn = []
    while len(drawn) < count:
        waiting = [c for c in left if left[c]]
        large = [c for c in waiting if sizes[c] >= smallest] or waiting
        c = min(large, key=lambda c: (sizes[c] - len(left[c]), -sizes[c], c))
        best = max(left[c], key=lambda i: typicality[i])
        left[c].remove(best)
        drawn.append(best)
    return drawn


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [4, 12, 90])
def test_typiclust_against_a_loop(draw, device, seed, count):
    embeddings = clouds(seed=seed).astype(np.float32)
    stream = rng(seed)
    order, points = shuffled(embeddings, stream)
    clusters = kmeans(points, min(count, 12), rng=stream, device=device, starts=1).assignments
    expected = order[typical_by_hand(points.astype(float), clusters, count, neighbors=4)]
    assert draw(TypiClust(clusters=12, neighbors=4), embeddings, count, seed).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_typiclust_prefers_clusters_without_labels(draw, device, seed):
    embeddings = clouds(seed=seed).astype(np.float32)
    labeled = rng(seed + 9).random(90) < 0.1
    stream = rng(seed)
    order, points = shuffled(embeddings, stream)
    there = {*np.flatnonzero(labeled[order])}
    clusters = kmeans(points, 8 + len(there), rng=stream, device=device, starts=1).assignments
    expected = order[typical_by_hand(points.astype(float), clusters, 8, neighbors=4, labeled=there)]
    drawn = draw(TypiClust(neighbors=4), embeddings, 8, seed, labeled)
    assert drawn.tolist() == expected.tolist() and not labeled[drawn].any()
    everything = draw(TypiClust(neighbors=4), embeddings, 90 - len(there), seed, labeled)
    assert sorted(everything) == np.flatnonzero(~labeled).tolist()


def test_the_most_typical_image_has_the_nearest_neighbors():
    line = np.array([[0.0], [1], [1.5], [2.5], [9]], np.float32)
    apart = mean_distances(line, np.zeros(5, int), 20, "cpu", silent)
    np.testing.assert_allclose(apart, [1.25, 0.75, 0.75, 1.25, 7.0])  # of the two nearest: half of five
    assert mean_distances(line, np.arange(5), 20, "cpu", silent).tolist() == [0] * 5


def test_typiclust_draws_from_the_largest_cloud_first(draw):
    """60 points of one direction, 25 and 15 of two others."""
    sizes = (60, 25, 15)
    points = np.repeat(np.eye(3), sizes, axis=0) + rng().normal(0, 0.02, (100, 3))
    cloud = np.repeat(np.arange(3), sizes)
    for seed in range(5):
        assert cloud[draw(TypiClust(starts=10), points, 3, seed)].tolist() == [0, 1, 2]


# USL


def usl_by_hand(points, clusters, part):
    """Restate the formulas of the paper, image by image. Return the merit after the last round."""
    apart = cdist(points, points, "sqeuclidean")
    density = []
    for i, row in enumerate(apart):
        near = np.sort(np.delete(row, i))[: part.neighbors]
        density.append(1 / near.mean())
    crowding = [0.0] * len(points)
    for _ in range(part.rounds - 1):
        chosen = {}
        for i in range(len(points)):
            merit = density[i] - part.weight * crowding[i]
            chosen[clusters[i]] = max(chosen.get(clusters[i], (-np.inf, i)), (merit, i))
        for i in range(len(points)):
            others = [j for c, (_, j) in chosen.items() if c != clusters[i]]
            fresh = sum(apart[i, j] ** -part.exponent for j in others)
            crowding[i] = part.momentum * crowding[i] + (1 - part.momentum) * fresh
    return np.array(density) - part.weight * np.array(crowding)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "part",
    [
        Usl(neighbors=6),
        Usl(neighbors=6, rounds=1),
        Usl(neighbors=3, rounds=2, weight=1.5, momentum=0.0, exponent=1.0),
        Usl(clusters=7, weight=20.0),
    ],
)
def test_usl_against_a_loop(draw, device, part, seed):
    embeddings = clouds(seed=seed).astype(np.float32)
    stream = rng(seed)
    order, points = shuffled(embeddings, stream)
    clusters = kmeans(points, min(12, part.clusters), rng=stream, device=device, starts=1).assignments
    merit = usl_by_hand(points.astype(float), clusters, part)
    expected = order[in_turn(clusters, merit)[:12]]
    assert draw(part, embeddings, 12, seed).tolist() == expected.tolist()


def test_crowding_drives_the_draws_of_neighboring_clusters_apart(draw):
    points = clouds(300, width=3)

    def least(part):
        drawn = [shuffled(points[draw(part, points, 12, seed)], rng())[1] for seed in range(5)]
        return np.mean([min(np.linalg.norm(a - b) for a, b in itertools.combinations(d, 2)) for d in drawn])

    assert least(Usl(neighbors=10, weight=50.0)) > least(Usl(neighbors=10, weight=0.0))


# ProbCover


def radius_by_hand(points, clusters, purity):
    """Try every distance between two images as radius: the largest with which enough balls are pure."""
    apart = cdist(points, points)
    pure = [
        np.mean([len({*clusters[row < r]}) == 1 for row in apart]) >= purity for r in np.unique(apart)[1:]
    ]
    return np.unique(apart)[1:][pure].max()


def cover_by_hand(points, radius, count, labeled=()):
    """Restate the greedy rule with sets. Of equals, one that is not covered is next, then the first."""
    balls = [{*np.flatnonzero(row < radius)} | {i} for i, row in enumerate(cdist(points, points))]
    left = {*range(len(points))}.difference(*(balls[i] for i in labeled))
    drawn = []
    while len(drawn) < count:
        rest = [i for i in range(len(points)) if i not in drawn and i not in labeled]
        best = max(rest, key=lambda i: (len(balls[i] & left), i in left, -i))
        left -= balls[best]
        drawn.append(best)
    return drawn


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("purity", [0.5, 0.95, 1.0])
def test_the_radius_is_the_largest_with_which_enough_balls_are_pure(seed, purity):
    points = shuffled(clouds(40, seed), rng())[1]
    clusters = kmeans(points, 3, rng=rng(seed)).assignments
    found = squared_radius(torch.tensor(points), torch.tensor(clusters), purity)
    expected = radius_by_hand(points.astype(float), clusters, purity)
    assert found == pytest.approx(expected**2, rel=1e-3)


def test_with_one_cluster_alone_a_ball_holds_everything():
    points = torch.tensor(shuffled(clouds(10), rng())[1])
    assert squared_radius(points, torch.zeros(10, dtype=torch.int64), 0.95) == np.inf


@pytest.mark.parametrize("few", [1, 5, 64])  # counts alone, both, the list alone
@pytest.mark.parametrize("chunk", [1, 300, 2**26])
@pytest.mark.parametrize("radius", [1e-9, 0.2, 0.5, 1.0, 3.0])
def test_covering_against_sets(monkeypatch, few, chunk, radius):
    monkeypatch.setattr(probcover, "FEW", few)
    monkeypatch.setattr(sphere, "CHUNK", chunk)
    points = shuffled(clouds(60), rng(1))[1]
    for labeled in ([], [3, 17, 18, 40]):
        mask = torch.zeros(60, dtype=torch.bool).index_fill_(0, torch.tensor(labeled, dtype=int), True)
        picks = np.concatenate([*cover(torch.tensor(points), radius**2, mask)])
        assert picks.tolist() == cover_by_hand(points.astype(float), radius, 60 - len(labeled), labeled)


@pytest.mark.parametrize("chunk", [1, 30, 2**26])
def test_a_ball_holds_its_own_image_however_small_it_is(monkeypatch, chunk):
    monkeypatch.setattr(sphere, "CHUNK", chunk)
    points = torch.tensor(shuffled(clouds(20), rng())[1])
    index = torch.tensor([3, 19, 0, 7])
    held = torch.cat([*balls(points, 0.0, index)])
    assert held.tolist() == (torch.arange(20)[:, None] == index).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_probcover_against_a_loop(draw, device, seed):
    embeddings = clouds(40, seed).astype(np.float32)
    stream = rng(seed)
    order, points = shuffled(embeddings, stream)
    clusters = kmeans(points, 4, rng=stream, device=device, starts=10).assignments
    radius = radius_by_hand(points.astype(float), clusters, 0.95)
    # A hair less: the ball is open, and this is the distance of two images.
    expected = order[cover_by_hand(points.astype(float), radius * (1 - 1e-5), 30)]
    assert draw(ProbCover(classes=4), embeddings, 30, seed).tolist() == expected.tolist()


def test_probcover_draws_none_that_has_a_label(draw):
    labeled = rng(3).random(90) < 0.2
    drawn = draw(ProbCover(), clouds(), 90 - labeled.sum(), labeled=labeled)
    assert sorted(drawn) == np.flatnonzero(~labeled).tolist()


# k-center, ZCore and uniform


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_kcenter_draws_what_the_selector_keeps_in_its_order(draw, device, metric):
    embeddings = clouds().astype(np.float32)
    kept = KCenter(metric=metric).select(embeddings, 25, rng(1), device, silent)
    assert draw(KCenterDraw(metric=metric), embeddings, 25, 1).tolist() == kept.tolist()


def test_zcore_draws_the_highest_scores_first(draw, device):
    embeddings = clouds().astype(np.float32)
    stream = rng(1)
    turn = stream.permutation(90)
    scores = Zcore(rounds=2000, neighbors=20).score(embeddings, stream, device, silent, MemoryCheckpoint())
    expected = sorted(range(90), key=lambda i: (-scores[i], turn[i]))
    assert draw(QUICK, embeddings, 90, 1).tolist() == expected


def test_uniform_is_a_permutation(draw):
    assert draw(Uniform(), np.eye(30), 12, 5).tolist() == rng(5).permutation(30)[:12].tolist()
