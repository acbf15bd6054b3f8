import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench.parts.sampling import kept
from prunebench_plugins.scorers.moderate import Moderate, center_distances
from prunebench_plugins.selectors.top import Top


def problem(n, classes=3, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)).astype(np.float32), rng.integers(classes, size=n)


def score(embeddings, labels, *, seed=0, **fields):
    return Moderate(**fields).score(embeddings, labels, np.random.default_rng(seed))


def naive_distances(embeddings, labels, center):
    """Return the distance of each image to its center, one by one."""
    found = []
    for own, label in zip(embeddings.astype(float), labels, strict=True):
        same = embeddings[labels == label].astype(float)
        middle = np.median(same, axis=0) if center == "median" else same.sum(axis=0) / len(same)
        found.append(sum((own - middle) ** 2) ** 0.5)
    return np.array(found)


def top(scores, keep, seed=0):
    return set(Top().select(scores, keep, np.random.default_rng(seed)).tolist())


@pytest.mark.parametrize("center", ["median", "mean"])
def test_distances_are_to_the_center_of_the_own_label(center):
    embeddings, labels = problem(60, classes=5)
    labels[labels == 3] = 7  # 3, 5 and 6 are the labels of no image
    found = center_distances(embeddings, labels, center)
    np.testing.assert_allclose(found, naive_distances(embeddings, labels, center), rtol=1e-12)


@pytest.mark.parametrize("center", ["median", "mean"])
@pytest.mark.parametrize("n", [1, 2, 9, 50, 101])
def test_top_keeps_exactly_the_middle_at_every_ratio(n, center):
    embeddings, labels = problem(n)
    scores = score(embeddings, labels, center=center)
    order = np.argsort(naive_distances(embeddings, labels, center), kind="stable")
    for ratio in range(100):
        keep = kept(n, ratio)
        near = (n - keep) // 2  # what is dropped of those near to their centers; one more may be of the far
        assert top(scores, keep, seed=ratio) == set(order[near : near + keep].tolist())


def test_moderate_by_hand():
    # One class, its median at 0: the distances are 3, 0, 1, 2, 9, so the ranks are 3, 0, 1, 2, 4.
    embeddings = np.array([[3], [0], [-1], [-2], [9]], np.float32)
    scores = score(embeddings, np.zeros(5, int))
    assert scores.tolist() == [-1.25, -1.75, -0.75, -0.25, -2.25]


def test_the_mean_is_drawn_by_an_outlier_and_the_median_is_not():
    embeddings = np.array([[0], [0], [0], [1], [99]], np.float32)
    labels = np.zeros(5, int)
    assert center_distances(embeddings, labels, "median").tolist() == [0, 0, 0, 1, 99]
    assert center_distances(embeddings, labels, "mean").tolist() == [20, 20, 20, 19, 79]


def test_equal_distances_rank_at_random():
    embeddings, labels = np.zeros((500, 2), np.float32), np.arange(500) % 3
    middles = [top(score(embeddings, labels, seed=seed), 100) for seed in (0, 1)]
    assert all(200 < np.mean(list(middle)) < 300 for middle in middles)
    assert len(middles[0] & middles[1]) < 40  # 20 are expected by chance


def test_labels_are_names_only():
    embeddings, labels = problem(40)
    renamed = np.array([5, 0, 2])[labels]
    assert score(embeddings, renamed).tolist() == score(embeddings, labels).tolist()


def test_images_without_a_label_draw_no_center_and_get_the_mean():
    embeddings, labels = problem(40)
    some = np.where(np.arange(40) % 4, labels, -1)
    seen = np.flatnonzero(some >= 0)
    scores = score(embeddings, some)
    alone = score(embeddings[seen], labels[seen])
    assert scores[seen].tolist() == alone.tolist()
    np.testing.assert_allclose(scores[::4], alone.mean())


def test_no_label_at_all_is_one_line():
    with pytest.raises(PrunebenchError, match=r"^moderate needs labels, but no image has one"):
        score(np.ones((3, 2), np.float32), np.full(3, -1))


def test_a_wrong_center_is_one_line():
    with pytest.raises(PrunebenchError) as error:
        Moderate(center="medoid")
    assert str(error.value) == "moderate.center is 'medoid', expected 'median' or 'mean'"


@pytest.mark.parametrize("center", ["median", "mean"])
def test_moderate_conforms(center):
    conform(Moderate(center=center))
