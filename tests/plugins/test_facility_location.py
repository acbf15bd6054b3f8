"""Facility location: lazy greedy on a sparse graph, beside plain greedy and apricot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench_plugins.selectors.facility_location import FacilityLocation, most_gained_first
from prunebench_plugins.selectors.neighbor_graph import compiled


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def select(device):
    def selected(part, embeddings, keep, seed=0):
        return part.select(np.asarray(embeddings, np.float32), keep, rng(seed), device)

    return selected


def greedy(similarity, order, keep):
    """Pick by every gain, computed anew for each pick; the first in `order` of equal ones."""
    best, chosen, left = np.zeros(len(similarity), similarity.dtype), [], list(order)
    for _ in range(keep):
        gains = {u: np.maximum(similarity[:, u] - best, 0).sum() for u in left}
        top = max(left, key=gains.__getitem__)
        left.remove(top)
        chosen.append(int(top))
        best = np.maximum(best, similarity[:, top])
    return chosen


def similarities(part, embeddings):
    """Restate the sparse similarity as a dense matrix of whole numbers, 2**30 for the longest distance."""
    n = len(embeddings)
    apart = cdist(embeddings, embeddings, "cosine" if part.similarity == "cosine" else "euclidean")
    joined = np.zeros((n, n), bool)
    for i in range(n):
        for j in [j for j in np.argsort(apart[i]) if j != i][: part.neighbors]:
            joined[i, j] = joined[j, i] = True
    longest = 1 if part.similarity == "cosine" else apart[joined].max()
    likeness = np.where(joined | np.eye(n, dtype=bool), np.maximum(longest - apart, 0), 0)
    return np.rint(2**30 * likeness / longest).astype(int)


def test_by_hand(select):
    """Of 0, 1 and 5 the likenesses are 5 - distance: sums 9, 10 and 6; after 1, gains 1 and 4."""
    assert select(FacilityLocation(), [[0.0], [1], [5]], 3).tolist() == [1, 2, 0]


PARTS = [
    FacilityLocation(),
    FacilityLocation(neighbors=4),
    FacilityLocation(neighbors=1),
    FacilityLocation(similarity="cosine"),
    FacilityLocation(neighbors=4, similarity="cosine"),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.similarity}, k {part.neighbors}")
@pytest.mark.parametrize("seed", range(3))
def test_facility_location_against_plain_greedy(select, part, seed):
    embeddings = rng(seed).normal(size=(70, 5)).astype(np.float32) + 0.5
    expected = greedy(similarities(part, embeddings), rng(seed).permutation(70), 60)
    assert select(part, embeddings, 60, seed).tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_lazy_greedy_is_plain_greedy_ties_included(seed):
    """Whole numbers, so that gains are exact and many of them tie; all are picked, to gains of zero."""
    source, n = rng(seed), 40
    similarity = np.triu(source.choice([0, 0, 0, 0, 1, 2, 3], size=(n, n)), 1)
    similarity += similarity.T
    starts = np.concatenate([[0], np.cumsum((similarity > 0).sum(axis=1))])
    near, likeness = np.nonzero(similarity)[1], similarity[similarity > 0]
    expected = greedy(similarity + 3 * np.eye(n, dtype=int), np.arange(n), n)
    for pick in (most_gained_first, compiled(most_gained_first)):
        assert pick(starts, near, likeness, 3, n).tolist() == expected


@pytest.mark.parametrize("similarity", ["distance", "cosine"])
@pytest.mark.parametrize("optimizer", ["naive", "lazy"])
def test_facility_location_against_apricot(select, similarity, optimizer):
    """The picks before the first tie of a pair, which apricot leaves to rounding, and the value of all."""
    apricot = pytest.importorskip("apricot")
    part = FacilityLocation(neighbors=99, similarity=similarity)
    embeddings = rng(7).normal(size=(100, 6)).astype(np.float32)
    dense = similarities(part, embeddings) / 2**30
    model = apricot.FacilityLocationSelection(40, metric="precomputed", optimizer=optimizer).fit(dense)
    subset = select(part, embeddings, 40)
    assert subset[:15].tolist() == model.ranking[:15].tolist()
    assert dense[:, subset].max(axis=1).sum() == pytest.approx(model.gains.sum(), rel=1e-3)


@pytest.mark.parametrize("similarity", ["distance", "cosine"])
def test_the_scale_of_the_embeddings_does_not_matter(select, similarity):
    part, embeddings = FacilityLocation(neighbors=5, similarity=similarity), rng().normal(size=(60, 4))
    subsets = [select(part, scale * embeddings, 40).tolist() for scale in (1 / 1024, 1, 1024)]
    assert subsets[0] == subsets[1] == subsets[2]


def test_an_image_whose_neighbors_are_not_kept_counts_nothing(select):
    """Three pairs, the last the closest: the pair's likeness is what is longest, less its distance."""
    pairs = [[0.0], [3], [100], [102], [200], [201]]
    subset = select(FacilityLocation(neighbors=1), pairs, 3)
    assert [place // 2 for place in subset] == [2, 1, 0]


def test_every_group_is_represented_before_any_twice(select):
    groups = np.repeat(50 * np.eye(5), [40, 5, 20, 9, 26], axis=0) + rng().normal(0, 0.1, (100, 5))
    which = np.repeat(np.arange(5), [40, 5, 20, 9, 26])
    assert sorted(which[select(FacilityLocation(neighbors=99), groups, 5)]) == [0, 1, 2, 3, 4]


def test_once_nothing_gains_anything_the_rest_is_random(select):
    """Two places, 150 copies of each: after one of each, every gain is 0."""
    places = np.repeat([[0.0, 0], [9, 0]], 150, axis=0)
    subsets = [select(FacilityLocation(neighbors=299), places, 80, seed) for seed in (0, 1)]
    assert sorted(subsets[0][:2] // 150) == [0, 1]
    assert 100 < subsets[0].mean() < 200
    assert set(subsets[0]) != set(subsets[1])
    again = select(FacilityLocation(neighbors=299), places, 80)
    assert again.tolist() == subsets[0].tolist()


def test_equal_images_are_kept_at_random(select):
    assert 200 < select(FacilityLocation(), np.ones((600, 2)), 100).mean() < 400


@pytest.mark.parametrize("similarity", ["distance", "cosine"])
def test_which_copy_adds_nothing_is_random(select, similarity):
    """Once one of each pair is kept, all gains are 0: rounding does not decide which pairs are kept whole."""
    pairs = np.tile(rng().normal(size=(60, 512)), (2, 1))
    part = FacilityLocation(neighbors=119, similarity=similarity)
    both = np.zeros(60)
    for seed in range(40):
        places = select(part, pairs, 90, seed) % 60
        assert len(set(places[:60])) == 60
        both += np.bincount(places, minlength=60) == 2
    assert both.std() < 5  # by chance 3.2. It is 20 if the same pairs are kept each time


def test_subsets_of_one_seed_are_nested(select):
    embeddings = rng().normal(size=(60, 4))
    large, small = (select(FacilityLocation(neighbors=5), embeddings, keep) for keep in (40, 11))
    assert large[:11].tolist() == small.tolist()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("similarity", ["distance", "cosine"])
def test_few_images(select, n, similarity):
    for keep in range(n + 1):
        subset = select(FacilityLocation(similarity=similarity), np.eye(n), keep)
        assert subset.shape == (keep,) and len(set(subset)) == keep


@pytest.mark.parametrize("part", [*PARTS[1::3], FacilityLocation(per_class=True)], ids=str)
def test_facility_location_keeps_the_contract(device, part):
    conform(part, device)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FacilityLocation(neighbors=0), r"facility_location\.neighbors is 0, expected above 0"),
        (
            lambda: FacilityLocation(similarity="rbf"),
            r"facility_location\.similarity is 'rbf', expected 'distance' or 'cosine'",
        ),
    ],
)
def test_bad_fields_are_one_line(make, message):
    with pytest.raises(PrunebenchError, match=message):
        make()
