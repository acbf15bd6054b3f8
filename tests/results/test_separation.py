"""Which groups of runs are separated: against scipy, by hand, and in simulated boards with a fixed seed."""

import numpy as np
import pytest
from scipy import stats

from prunebench.results.separation import LEVEL, UNEQUAL, Noise, between, compare, noise, seeds_needed
from prunebench.results.statistics import flips_needed, holm, mean_ranks, sign_flip, variance_components


def runs(table):
    return [dict(enumerate(map(float, values))) for values in table]


def drawn(rng, groups, seeds, spread=1.0, gap=0.0):
    """A board of equal methods, the first of which is better by a gap."""
    table = rng.normal(size=(groups, seeds)) * spread
    table[0] += gap
    return runs(table)


# The tests


def test_groups_of_one_spread_are_compared_by_the_studentized_range():
    rng = np.random.default_rng(0)
    uneven = [dict(list(one.items())[: 4 + n % 2]) for n, one in enumerate(drawn(rng, 6, 5, gap=3.0))]
    found = compare(uneven)
    expected = stats.tukey_hsd(*[[*one.values()] for one in uneven]).pvalue
    assert found.pooled
    np.testing.assert_array_equal(found.apart, expected < LEVEL)
    assert 0 < found.apart.sum() < 30


def test_runs_of_a_seed_are_compared_with_each_other():
    """What all methods of a seed have in common is no noise: here it is twenty times the rest."""
    table = np.random.default_rng(1).normal(size=(4, 5)) + np.array([[2], [0], [0], [-2]])
    shared = table + 20 * np.arange(5)
    assert not compare(
        [{seed + 5 * n: v for seed, v in one.items()} for n, one in enumerate(runs(shared))]
    ).apart.any()
    np.testing.assert_array_equal(compare(runs(shared)).apart, compare(runs(table)).apart)
    assert compare(runs(shared)).apart[0, 3]


def test_two_groups_with_the_same_seeds_are_a_paired_t_test():
    table = np.random.default_rng(2).normal(size=(2, 4)) + np.array([[1.0], [0.0]])
    found = compare(runs(table))
    interval = stats.ttest_rel(*table).confidence_interval()
    assert found.margins[0] == pytest.approx((interval.high - interval.low) / 2, rel=1e-4)


def test_groups_that_scatter_differently_are_compared_by_welchs_test():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(4, 6)) * [[0.1], [0.1], [1.0], [9.0]] + [[3.0], [0.0], [0.0], [0.0]]
    found = compare(runs(table))
    first, second = np.triu_indices(4, 1)
    each = [
        stats.ttest_ind(table[i], table[j], equal_var=False).pvalue
        for i, j in zip(first, second, strict=True)
    ]
    assert not found.pooled
    np.testing.assert_array_equal(found.apart[first, second], np.array(holm(each)) < LEVEL)
    assert found.apart[0, 1] and not found.apart[0, 3]


def test_the_others_are_compared_with_one_alone():
    """Fewer comparisons than of all pairs: the margin is smaller."""
    table = np.random.default_rng(4).normal(size=(8, 5)) * 0.5 + [[0.0], [1.3], [-2.0], *[[0.0]] * 5]
    pairs = [(0, other) for other in range(1, 8)]
    assert between(runs(table), pairs)[:2] == [1, -1]
    assert not compare(runs(table)).apart[0, 1]


@pytest.mark.parametrize(
    "table",
    [
        [[1.0], [2.0]],
        [[1.0, 2.0]],
        [[80.1, 80.1, 80.1], [90.1, 90.1, 90.1]],
        [[80.1, 80.4, 80.7], [90.1, 90.4, 90.7]],
    ],
    ids=["one seed", "one group", "no spread", "no spread but that of seeds"],
)
def test_where_no_spread_is_known_nothing_is_compared(table):
    assert compare(runs(table)) is None
    assert between(runs(table), [(0, -1)]) == [0]


def test_pairs_of_groups_are_compared_with_each_other_alone():
    table = np.random.default_rng(5).normal(size=(4, 5)) * 0.5 + [[0.0], [4.0], [9.0], [9.1]]
    assert between(runs(table), [(0, 1), (3, 2), (1, 0)]) == [1, 0, -1]
    assert between(runs(table), []) == []


def test_two_groups_without_any_spread_among_others_are_not_separated():
    found = compare(runs([[80.0, 80.0, 80.0], [90.0, 90.0, 90.0], [70.0, 71.0, 70.5]]))
    assert not found.apart[0, 1] and found.apart[0, 2]
    assert found.margins[0] == np.inf and np.isfinite(found.margins[1:]).all()


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_spreads_are_compared_by_bartletts_test(seeds):
    rng = np.random.default_rng(6)
    tables = [rng.normal(size=(5, seeds)) * np.exp(rng.normal(size=(5, 1))) for _ in range(40)]
    expected = [stats.bartlett(*table).pvalue >= UNEQUAL for table in tables]
    assert [noise(runs(table)).pooled for table in tables] == expected
    assert len(set(expected)) == 2


# Ranks and tie groups


def test_ranks_and_tie_groups():
    """Two that are not separated, one below both, and one that is separated from none but the first."""
    rng = np.random.default_rng(5)
    found = compare(runs(rng.normal(size=(4, 8)) * 0.3 + [[0.0], [3.0], [2.9], [-4.0]]))
    assert found.ranks == [(3, 3), (1, 2), (1, 2), (4, 4)]
    assert found.ties == [2, 1, 1, 3]
    wide = compare(runs(rng.normal(size=(3, 8)) * [[0.1], [9.0], [0.1]] + [[5.0], [4.0], [3.0]]))
    assert (wide.ranks, wide.ties) == ([(1, 2), (1, 3), (2, 3)], [1, 1, 1])


def test_a_tie_group_ends_only_where_all_above_are_separated_from_all_below():
    """The first and the last do not scatter: nothing separates these two, and they are in one tie group."""
    steady = np.zeros(3)
    table = [90 + steady, [85, 85.01, 84.99], [60.3, 60.6, 60.0], 60 + steady]
    found = compare(runs(table))
    assert found.above[0, 1] and found.above[1, 3] and not found.above[0, 3]
    assert found.ties == [1, 1, 1, 1]


# Boards


def test_equal_methods_are_hardly_ever_split():
    """1,000 boards of 9 equal methods with 5 seeds: a wrong pair in about 5 %, a wrong split in none."""
    rng = np.random.default_rng(0)
    boards = [compare(drawn(rng, 9, 5)) for _ in range(1000)]
    assert np.mean([found.apart.any() for found in boards]) == pytest.approx(LEVEL, abs=0.015)
    assert np.mean([max(found.ties) > 1 for found in boards]) <= 0.05


def test_a_gap_of_four_spreads_is_found():
    rng = np.random.default_rng(0)
    boards = [compare(drawn(rng, 9, 5, spread=0.5, gap=2.0)) for _ in range(200)]
    assert np.mean([found.ranks[0] == (1, 1) for found in boards]) >= 0.9


# The planner


@pytest.mark.parametrize(("spread", "difference"), [(1.0, 1.0), (0.5, 0.5)])
def test_as_many_seeds_as_planned_have_the_power(spread, difference):
    known = Noise(np.full(9, spread**2), np.full(9, 5), degrees=32)
    seeds = seeds_needed(known, (0, 1), difference, 0.8)
    rng = np.random.default_rng(0)
    boards = [compare(drawn(rng, 9, seeds, spread, difference)) for _ in range(400)]
    assert np.mean([found.apart[0, 1] for found in boards]) == pytest.approx(0.8, abs=0.05)


def test_as_many_seeds_as_planned_have_the_power_where_spreads_differ():
    spreads = np.array([0.4, 0.8, 0.4, 0.4, 2.0, 4.0])
    known = Noise(spreads**2, np.full(6, 5), degrees=None)
    seeds = seeds_needed(known, (0, 1), 0.5, 0.8)
    rng = np.random.default_rng(0)
    boards = [compare(drawn(rng, 6, seeds, spreads[:, None], 0.5)) for _ in range(400)]
    assert np.mean([found.apart[0, 1] for found in boards]) == pytest.approx(0.8, abs=0.05)


def test_a_plan_asks_for_the_fewest_seeds_and_gives_up_beyond_a_thousand():
    known = noise(drawn(np.random.default_rng(0), 4, 5))
    assert seeds_needed(known, (0, 1), 100.0, 0.8) == 2
    assert seeds_needed(known, (0, 1), 0.01, 0.8) is None
    assert seeds_needed(known, (0, 1), 1.0, 0.9) > seeds_needed(known, (0, 1), 1.0, 0.8)


# Small tests


def test_holms_correction():
    """Holm 1979: the smallest of three times 3, the next times 2, never below the one before."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_sign_flip_test_counts_all_signs():
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 2 / 64
    assert sign_flip([1.0, -1.0, 2.0]) == 1.0 - 2 / 8  # by hand: 6 of 8 sums are as far from 0 as 2
    assert flips_needed(1, 0.05) == 6 and flips_needed(37, 0.05) == 11


def test_mean_ranks_share_equals():
    assert mean_ranks([[3.0, 1.0], [3.0, 2.0], [1.0, 3.0]]) == [2.25, 1.75, 2.0]


def test_the_variance_of_a_stage_is_what_the_rungs_below_lack():
    """By hand: 4, 2 and 3 have the sums of squares 2; the last rung alone is never negative."""
    ladder = {"label draw": [0.0, 4.0], "proxy": [1.0, 3.0], "training": [0.0, 6.0]}
    assert variance_components(ladder) == {"label draw": 6.0, "proxy": 0.0, "training": 18.0}
    assert variance_components(ladder | {"training": [1.0]}) is None
