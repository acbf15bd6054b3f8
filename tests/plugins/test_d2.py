"""D2: message passing over the graph of nearest neighbors, beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import kneighbors_graph

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench_plugins.selectors import neighbor_graph as graphs
from prunebench_plugins.selectors.d2 import D2, densest_first
from prunebench_plugins.selectors.neighbor_graph import SMALLEST, compiled, neighbor_graph
from prunebench_plugins.selectors.top import Top


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def select(device):
    """select(part, embeddings, scores, keep) selects without a cutoff, unless the part has one."""

    def selected(part, embeddings, scores, keep, seed=0):
        part = part.at(0) if part.cutoff is None else part
        embeddings, scores = np.asarray(embeddings, np.float32), np.asarray(scores, float)
        return part.select(embeddings, scores, keep, rng(seed), device)

    return selected


def column(*places):
    """Points on a line."""
    return np.array(places, np.float32)[:, None]


def problem(n=60, d=3, seed=0):
    source = rng(seed)
    return source.normal(size=(n, d)).astype(np.float32), source.normal(size=n)


def loops(part, embeddings, scores, keep):
    """Restate both passes from the formulas, with a dense matrix, for scores without ties."""
    n = len(scores)
    scores = scores - min(0, scores.min())
    apart = np.linalg.norm(embeddings[:, None].astype(float) - embeddings[None], axis=2)
    joined = np.zeros((n, n), bool)
    for i in range(n):
        others = [j for j in np.argsort(apart[i]) if j != i]
        for j in others[: part.neighbors]:
            joined[i, j] = joined[j, i] = True
    power = 2 if part.squared else 1
    density = scores.copy()
    for i, j in zip(*np.nonzero(joined), strict=True):
        density[i] += np.exp(-(apart[i, j] ** power)) * scores[j]
    chosen = []
    for _ in range(keep):
        top = max((i for i in range(n) if i not in chosen), key=lambda i: density[i])
        chosen.append(top)
        for j in np.flatnonzero(joined[top]):
            density[j] -= np.exp(-part.gamma * apart[top, j] ** power) * density[top]
    return chosen


# By hand


def test_a_pick_spares_its_neighbors_where_top_would_keep_them(select):
    """Densities 1 + 2/e, 2 + 1/e + 3/e^2, 3 + 2/e^2; the last is picked, and the one in the middle falls."""
    embeddings, scores = column(0, 1, 3), [1, 2, 3]
    assert select(D2(neighbors=1), embeddings, scores, 3).tolist() == [2, 0, 1]
    assert Top().select(np.array(scores, float), 3, rng()).tolist() == [2, 1, 0]


def test_a_smaller_gamma_spares_more(select):
    """The middle keeps 2.774 - 3.271 exp(-2 gamma), which is above 1.736 where gamma is 0.6 or more."""
    picks = {
        gamma: select(D2(neighbors=1, gamma=gamma), column(0, 1, 3), [1, 2, 3], 2)[1] for gamma in (0.5, 0.6)
    }
    assert picks == {0.5: 0, 0.6: 1}


def test_squared_distances_favor_close_neighbors(select):
    """exp(-1.4) = 0.247 and exp(-0.5) = 0.607 become exp(-1.96) = 0.141 and exp(-0.25) = 0.779."""
    embeddings, scores = column(0, 1.4, 100, 100.5), [1, 1.35, 0.95, 0.95]
    assert select(D2(neighbors=1), embeddings, scores, 1) == [1]  # 1.597 to 1.526
    assert select(D2(neighbors=1, squared=True), embeddings, scores, 1)[0] in (2, 3)  # 1.491 to 1.690


# Beside plain loops


@pytest.mark.parametrize(
    "part",
    [
        D2(),
        D2(neighbors=1),
        D2(neighbors=5, gamma=0),
        D2(neighbors=5, gamma=1),
        D2(neighbors=4, squared=True, gamma=0.3),
        D2(neighbors=1000),
    ],
    ids=lambda part: f"k {part.neighbors}, gamma {part.gamma}",
)
@pytest.mark.parametrize("seed", range(3))
def test_d2_against_the_formulas(select, part, seed):
    """All are picked in the end, so that densities below zero, where neighbors rise, are met too."""
    embeddings, scores = problem(seed=seed)
    assert select(part, embeddings, scores, 60).tolist() == loops(part, embeddings, scores, 60)


@pytest.mark.parametrize("seed", range(20))
def test_the_heap_picks_as_a_scan_does_ties_included(seed):
    source, n = rng(seed), 40
    weights = np.triu(source.choice([0.0, 0, 1, 2], size=(n, n)), 1)
    weights += weights.T  # above 1 too, so that densities rise and fall a lot, to where they were before
    density = source.integers(-2, 4, size=n).astype(float)
    starts = np.concatenate([[0], np.cumsum((weights > 0).sum(axis=1))])
    near = np.nonzero(weights)[1]
    fading = weights[weights > 0]
    expected, left, now = [], list(range(n)), density.copy()
    while left:
        top = max(left, key=lambda i: now[i])  # the first of several
        left.remove(top)
        expected.append(top)
        now -= weights[top] * now[top]
    for pick in (densest_first, compiled(densest_first)):
        assert pick(starts, near, fading, density.copy(), n).tolist() == expected


@pytest.mark.parametrize("k", [1, 3, 29])
def test_the_graph_joins_images_of_which_either_is_near_the_other(device, k):
    embeddings = rng().normal(size=(30, 4)).astype(np.float32)
    expected = kneighbors_graph(embeddings, k, mode="distance").toarray()
    expected = np.maximum(expected, expected.T)
    graph = neighbor_graph(embeddings, k, metric="euclidean", device=device)
    np.testing.assert_allclose(graph.toarray(), expected, atol=1e-5)
    assert graph.dtype == np.float64


def test_the_graph_keeps_neighbors_at_distance_zero(device):
    graph = neighbor_graph(np.ones((4, 2), np.float32), 3, metric="euclidean", device=device)
    assert graph.nnz == 12
    assert (graph.data == SMALLEST).all()


def test_the_latest_graph_is_computed_once(monkeypatch):
    computed = []
    original = graphs._computed

    def counted(*arguments):
        computed.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(graphs, "_computed", counted)
    first, second = rng(7).normal(size=(2, 30, 4)).astype(np.float32)
    one = neighbor_graph(first, 3, metric="euclidean", device="cpu")
    expected = one.toarray()
    one.data[:] = 0  # its own copy
    assert (neighbor_graph(first.copy(), 3, metric="euclidean", device="cpu").toarray() == expected).all()
    assert len(computed) == 1
    for embeddings, k, metric in ((first, 4, "euclidean"), (first, 4, "cosine"), (second, 4, "cosine")):
        neighbor_graph(embeddings, k, metric=metric, device="cpu")
    assert len(computed) == 4


# Scores


def test_negative_scores_send_messages_too(select):
    """AUM, as published: scores of 0 and less are raised to 1e-7 before they are sent, so nothing is."""
    embeddings, scores = problem()
    raised = select(D2(), embeddings, scores - scores.min(), 20)
    assert select(D2(), embeddings, scores - 5, 20).tolist() == raised.tolist()
    assert select(D2(), embeddings, scores, 20).tolist() == raised.tolist()


def test_scores_of_zero_and_more_are_taken_as_they_are(select):
    """A shift would matter: images with many close neighbors gain more from it."""
    embeddings, scores = column(0, 0.1, 0.2, 50), [1.0, 1.0, 1.0, 2.5]
    assert select(D2(neighbors=2), embeddings, scores, 1).tolist() != [3]
    assert select(D2(neighbors=2), embeddings, np.array(scores) - 1, 1).tolist() == [3]
    assert select(D2(neighbors=2), embeddings, np.array(scores) - 9, 1).tolist() == [3]


def test_the_scale_of_the_scores_does_not_matter(select):
    embeddings, scores = problem()
    assert select(D2(), embeddings, scores, 30).tolist() == select(D2(), embeddings, 8 * scores, 30).tolist()


def test_images_far_from_one_another_are_kept_by_score_alone(select):
    embeddings, scores = problem()
    hardest = Top().select(scores, 30, rng()).tolist()
    assert select(D2(), 1e5 * embeddings, scores, 30).tolist() == hardest
    assert select(D2(), embeddings, scores, 30).tolist() != hardest


def test_several_groups_are_covered_where_top_keeps_one(select):
    groups = np.repeat([[0.0, 0], [9, 0], [0, 9]], 20, axis=0) + rng().normal(0, 0.1, (60, 2))
    scores = np.repeat([3.0, 2.0, 1.0], 20) + rng(1).random(60)
    assert (Top().select(scores, 9, rng()) < 20).all()
    kept = np.bincount(select(D2(neighbors=19), groups, scores, 9) // 20, minlength=3)
    assert (kept > 0).all()


# Ties, sizes, cutoff


def test_ties_are_broken_at_random_not_by_position(select):
    """Equal images with equal scores have equal densities; after the first pick all are at 0."""
    subsets = [select(D2(neighbors=299), np.ones((300, 2)), np.ones(300), 60, seed) for seed in (0, 1)]
    assert 100 < subsets[0].mean() < 200
    assert set(subsets[0]) != set(subsets[1])
    again = select(D2(neighbors=299), np.ones((300, 2)), np.ones(300), 60)
    assert again.tolist() == subsets[0].tolist()


def test_of_images_equally_dense_the_hardest_is_picked(select):
    """All are at distance 0 of all, so that each density is the sum of the scores."""
    scores = np.array([1.0, 4, 2, 3])
    assert select(D2(), np.ones((4, 2)), scores, 1).tolist() == [1]
    assert select(D2(), np.ones((4, 2)), -scores, 4).tolist() == [0, 2, 3, 1]


@pytest.mark.parametrize("part", [D2(cutoff=0.0), D2(cutoff=0.2), D2().at(89)])
def test_subsets_of_one_seed_are_nested_at_one_cutoff(select, part):
    embeddings, scores = problem()
    assert select(part, embeddings, scores, 40)[:10].tolist() == select(part, embeddings, scores, 10).tolist()


def test_by_default_the_subset_at_90_is_part_of_no_larger_one(select):
    """Its cutoff is another."""
    embeddings, scores = problem()
    larger, smaller = (
        select(D2().at(ratio), embeddings, scores, keep) for ratio, keep in ((80, 12), (90, 6))
    )
    assert not {*smaller} <= {*larger}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_images_than_neighbors(select, n):
    embeddings, scores = problem(n)
    for keep in range(n + 1):
        subset = select(D2(), embeddings, scores, keep)
        assert subset.shape == (keep,) and len(set(subset)) == keep


def test_a_cutoff_drops_the_hardest_as_if_they_were_not_there(select):
    embeddings, scores = problem()
    easier = np.argsort(-scores)[12:]
    expected = easier[select(D2(), embeddings[easier], scores[easier] - scores.min(), 20)]
    assert select(D2(cutoff=0.2), embeddings, scores, 20).tolist() == expected.tolist()


def test_a_cutoff_above_the_ratio_is_refused():
    assert D2(cutoff=0.5).at(50) == D2(cutoff=0.5)
    with pytest.raises(PrunebenchError, match=r"d2\.cutoff is 0\.5, but at ratio 30 only 0\.3"):
        D2(cutoff=0.5).at(30)


@pytest.mark.parametrize("part", [D2(), D2(neighbors=3, cutoff=0.3, squared=True), D2(per_class=True)])
def test_d2_keeps_the_contract(device, part):
    conform(part, device)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: D2(neighbors=0), r"d2\.neighbors is 0, expected above 0"),
        (lambda: D2(gamma=-1), r"d2\.gamma is -1, expected 0 or more"),
        (lambda: D2(cutoff=1), r"d2\.cutoff is 1, expected in 0\.\.1, below 1"),
    ],
)
def test_bad_fields_are_one_line(make, message):
    with pytest.raises(PrunebenchError, match=message):
        make()
