import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.errors import PrunebenchError
from prunebench.parts.sampling import apportion, draw_labels, kept, rank_within, share

few_examples = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("images", "ratio", "keep"),
    [(50_000, 90, 5000), (50_000, 80, 10_000), (75_750, 90, 7575), (1347, 30, 942), (1, 30, 0), (7, 0, 7)],
)
def test_kept_is_an_exact_floor(images, ratio, keep):
    assert kept(images, ratio) == keep


@pytest.mark.parametrize(
    ("images", "fraction", "expected"),
    [(1000, 0.29, 290), (50_000, 0.1, 5000), (10, 0.0, 0), (10, 1.0, 10), (7, 0.5, 3), (3, 0.1 + 0.2, 0)],
)
def test_share_is_a_floor_immune_to_binary_rounding(images, fraction, expected):
    assert share(images, fraction) == expected


@given(st.integers(0, 2_000_000), st.integers(0, 99))
def test_share_and_kept_agree(images, ratio):
    assert share(images, (100 - ratio) / 100) == kept(images, ratio)


# Apportion


@pytest.mark.parametrize(
    ("total", "sizes", "quotas"),
    [
        (6, [6, 3, 3], [3, 2, 1]),  # 3, 1.5 and 1.5: the earlier of two equal remainders is served
        (1, [1, 1, 1], [1, 0, 0]),
        (2, [1, 8], [0, 2]),  # 0.22 and 1.78
        (0, [4, 4], [0, 0]),
        (8, [4, 4], [4, 4]),
        (0, [], []),
        (3, [0, 5], [0, 3]),
    ],
)
def test_apportion_by_largest_remainder(total, sizes, quotas):
    assert apportion(total, np.array(sizes, int)).tolist() == quotas


@few_examples
@given(st.lists(st.integers(0, 50), min_size=1, max_size=10), st.data())
def test_apportion_is_exact_and_within_one_of_proportional(sizes, data):
    sizes = np.array(sizes)
    total = data.draw(st.integers(0, int(sizes.sum())))
    quotas = apportion(total, sizes)
    assert quotas.sum() == total
    assert (quotas <= sizes).all()
    assert (np.abs(quotas - sizes * total / max(sizes.sum(), 1)) < 1).all()


def test_apportion_cannot_share_more_than_there_is():
    with pytest.raises(PrunebenchError, match="cannot share 5 between groups that hold 4 in all"):
        apportion(5, np.array([1, 3]))


# Ranks


def test_rank_within_counts_from_zero_in_each_group():
    assert rank_within(np.array([2, 0, 2, 2, 0])).tolist() == [0, 0, 1, 2, 1]
    assert rank_within(np.array([], dtype=int)).tolist() == []


@few_examples
@given(st.lists(st.integers(0, 5), max_size=30))
def test_rank_within_against_counting(groups):
    assert rank_within(np.array(groups, int)).tolist() == [groups[:i].count(g) for i, g in enumerate(groups)]


# Label draws


def draw(truth, fraction, sampling, seed=0):
    return draw_labels(np.array(truth), fraction, sampling, np.random.default_rng(seed))


def test_a_uniform_draw_has_the_exact_size_and_contains_the_smaller_ones():
    truth = np.arange(100) % 3
    small, large = draw(truth, 0.1, "uniform"), draw(truth, 0.29, "uniform")
    assert len(small) == 10
    assert len(large) == 29
    assert set(small) < set(large)
    assert (np.diff(large) > 0).all()


def test_a_uniform_draw_looks_at_no_label():
    assert draw([0] * 50, 0.2, "uniform").tolist() == draw(range(50), 0.2, "uniform").tolist()


def test_a_class_balanced_draw_takes_as_many_of_each_class():
    truth = np.repeat([0, 1, 2], [70, 25, 5])
    assert np.bincount(truth[draw(truth, 0.12, "class_balanced")]).tolist() == [4, 4, 4]
    assert np.bincount(truth[draw(truth, 0.3, "class_balanced")]).tolist() == [10, 10, 5]


def test_a_class_balanced_draw_of_fewer_labels_than_classes_is_one_line():
    with pytest.raises(PrunebenchError) as error:
        draw([0, 1, 2] * 10, 0.07, "class_balanced")
    assert str(error.value) == (
        "a class_balanced draw cannot share 2 label(s) between 3 classes; "
        "raise the labeler's label_fraction or set its sampling to uniform"
    )


def test_a_stratified_draw_follows_the_class_sizes_and_forgets_no_class():
    truth = np.repeat([0, 1, 2], [70, 28, 2])
    assert np.bincount(truth[draw(truth, 0.1, "stratified")]).tolist() == [6, 3, 1]
    assert len(draw(truth, 0.02, "stratified")) == 2


@pytest.mark.parametrize("sampling", ["uniform", "class_balanced", "stratified"])
def test_a_draw_follows_its_seed(sampling):
    truth = np.arange(60) % 3
    first = draw(truth, 0.3, sampling)
    assert len(set(first)) == 18
    assert first.tolist() == draw(truth, 0.3, sampling).tolist()
    assert first.tolist() != draw(truth, 0.3, sampling, seed=1).tolist()


@pytest.mark.parametrize("sampling", ["uniform", "class_balanced", "stratified"])
def test_nothing_and_everything_can_be_drawn(sampling):
    truth = np.arange(12) % 3
    assert draw(truth, 0, sampling).tolist() == []
    assert draw(truth, 1, sampling).tolist() == list(range(12))


def test_an_unknown_sampling_is_one_line():
    with pytest.raises(PrunebenchError, match=r"no sampling named 'even'\. Known: uniform, "):
        draw([0, 1], 0.5, "even")
