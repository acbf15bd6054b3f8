from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Dynamics
from prunebench.parts.base import STANDARD_RATIOS
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import apportion, kept
from prunebench.suites.tuning import searches
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.d2 import D2
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.stratified import Stratified, strata_of, water_fill
from prunebench_plugins.selectors.top import Top


def rng(seed=0):
    return np.random.default_rng(seed)


def blank(n):
    """Return n black images of one pixel."""
    return Images(np.zeros((n, 1, 1, 1), np.uint8), mean=(0.5,), std=(0.5,))


def watched(probability, index=None, images=None):
    """Return 30 epochs of dynamics in which the label always had these probabilities."""
    own = np.tile(np.asarray(probability, float), (30, 1))
    index = np.arange(own.shape[1]) if index is None else np.array(index)
    series = dict.fromkeys(Dynamics.series, own)
    return Dynamics(images=images or own.shape[1], index=index, **series)


def select(selector, scores, keep, seed=0, probability=None):
    """Call any selector of scores on what it asks for; Beta prunes all that is not kept."""
    scores = np.asarray(scores, float)
    n = len(scores)
    if isinstance(selector, Beta) and selector.pruned is None:
        selector = replace(selector, pruned=1 - keep / n)
    offered = {
        "images": blank(n),
        "scores": scores,
        "dynamics": watched(rng(1).random(n) if probability is None else probability),
        "keep": keep,
        "rng": rng(seed),
    }
    return selector.select(**{name: offered[name] for name in selector.needs()})


# Sizes

SELECTORS = [Random(), Random(stream=2), Top(), Cutoff(), Stratified(), Stratified(strata=3), Beta()]


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda s: s.name)
@pytest.mark.parametrize("n", [1, 2, 7, 1347])
@pytest.mark.parametrize("levels", [1, 2, 1000], ids=["all tied", "two levels", "few ties"])
def test_every_ratio_keeps_exactly_its_share(selector, n, levels):
    scores = rng(n).integers(levels, size=n) - levels // 2
    for ratio in range(100):
        keep = n * (100 - ratio) // 100
        subset = select(selector.at(ratio), scores, keep)
        assert subset.shape == (keep,)
        assert np.unique(subset).size == keep
        assert not keep or 0 <= subset.min() <= subset.max() < n


def test_a_tenth_of_cifar_is_5000_images():
    """One published selector computes 1 - (1 - 0.1) in binary and keeps 4999."""
    assert kept(50_000, 90) == 5000
    assert len(select(Beta(), rng().random(50_000), 5000)) == 5000


# Random


def test_random_subsets_of_one_seed_are_nested():
    small, large = (select(Random(), np.zeros(100), keep, seed=3) for keep in (10, 50))
    assert set(small) < set(large)


def test_random_streams_of_one_seed_differ():
    first, twin = (select(Random(stream=k), np.zeros(1000), 100) for k in (0, 1))
    assert 0 < len(set(first) & set(twin)) < 30  # 10 are expected by chance


def test_random_class_by_class_draws_another_permutation_for_each():
    source = rng()
    first, second = (Random().select(blank(50), 50, source) for _ in range(2))
    assert not np.array_equal(first, second)


# Top


def test_top_keeps_the_hardest():
    assert select(Top(), [0.1, 0.9, 0.5, 0.7], 2).tolist() == [1, 3]


def test_top_breaks_ties_at_random_not_by_position():
    tied = np.zeros(1000)
    subset = select(Top(), tied, 100)
    assert 300 < subset.mean() < 700
    assert set(subset) != set(select(Top(), tied, 100, seed=1))


def test_top_prefers_the_harder_one_to_a_tie():
    assert set(select(Top(), [0, 0, 1, 0, 1, 0], 3)) >= {2, 4}


# Cutoff


def test_cutoff_drops_the_hardest_and_keeps_the_next():
    assert select(Cutoff(cutoff=0.2), np.arange(10)[::-1], 3).tolist() == [2, 3, 4]


def test_cutoff_of_the_whole_ratio_keeps_the_easiest():
    """Published code writes this as a slice to [-0], which is empty."""
    assert select(Cutoff(cutoff=0.7).at(70), np.arange(10)[::-1], 3).tolist() == [7, 8, 9]


@pytest.mark.parametrize("seed", range(5))
def test_cutoff_against_sorting(seed):
    scores = rng(seed).random(200)
    expected = sorted(range(200), key=lambda i: -scores[i])[58:98]  # 0.29 of 200 is 58, not 57
    assert select(Cutoff(cutoff=0.29), scores, 40).tolist() == expected


HARD_CUTOFFS = [Cutoff, Stratified, D2]


@pytest.mark.parametrize(
    ("part", "cutoffs"),
    [
        (Cutoff, [0.0, 0.0, 0.1, 0.1, 0.2, 0.4, 0.5, 0.5, 0.7, 0.7]),
        (Stratified, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.3, 0.3]),
        (D2, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4, 0.4]),
    ],
)
def test_an_unset_cutoff_follows_the_ratio(part, cutoffs):
    ratios = [0, 29, 30, 49, 50, 70, 80, 89, 90, 99]
    assert [part().at(ratio).cutoff for ratio in ratios] == cutoffs


@pytest.mark.parametrize("part", HARD_CUTOFFS)
def test_a_cutoff_of_zero_stays_zero_at_every_ratio(part):
    assert {part(cutoff=0.0).at(ratio).cutoff for ratio in range(100)} == {0.0}


@pytest.mark.parametrize("part", HARD_CUTOFFS)
def test_every_cutoff_is_searched_alike(part):
    """The same budget for every method: each tenth up to the share pruned, for every ratio anew."""
    (search,) = searches(Method("m", title="M", labeler=GroundTruth(), scorer=Aum(), selector=part()), {})
    recipe = Recipe(network="cnn", epochs=2)
    assert (search.parts, search.grid.each) == ((part.name,), True)
    assert [len(search.values(recipe, ratio)) for ratio in STANDARD_RATIOS] == [4, 6, 8, 9, 10]


@pytest.mark.parametrize("selector", [part(cutoff=0.5) for part in HARD_CUTOFFS], ids=lambda s: s.name)
def test_a_cutoff_above_the_ratio_is_refused(selector):
    assert selector.at(50) == selector
    with pytest.raises(PrunebenchError) as error:
        selector.at(30)
    assert str(error.value) == (
        f"{selector.name}.cutoff is 0.5, but at ratio 30 only 0.3 of the images are pruned; "
        "set it to 0.3 or less"
    )


def test_a_cutoff_summed_up_in_binary_is_still_the_ratio():
    assert Cutoff(cutoff=0.1 + 0.2).at(30).cutoff == pytest.approx(0.3)


def test_cutoff_of_the_whole_ratio_leaves_every_class_enough():
    """Shares of classes are rounded one by one; the cutoff of a class must never eat into its quota."""
    for seed in range(100):
        sizes = rng(seed).integers(1, 40, size=6)
        ratio = int(rng(seed).integers(1, 100))
        quotas = apportion(kept(sizes.sum(), ratio), sizes)
        for size, quota in zip(sizes, quotas, strict=True):
            assert len(select(Cutoff(cutoff=ratio / 100), np.zeros(size), quota)) == quota


def test_cutoff_says_when_too_few_images_are_left():
    with pytest.raises(PrunebenchError, match="drops 5 of 10 images, which leaves fewer than the 6 to keep"):
        select(Cutoff(cutoff=0.5), np.arange(10), 6)


@pytest.mark.parametrize("part", [Cutoff, Stratified])
def test_a_selector_says_when_its_cutoff_was_never_set(part):
    with pytest.raises(PrunebenchError, match=rf"{part.name}\.cutoff is not set"):
        select(part(), np.arange(10), 5)


# Stratified


@pytest.mark.parametrize(
    ("total", "sizes", "budgets"),
    [
        (30, [1, 2, 100], [1, 2, 27]),
        (30, [100, 1, 2], [27, 1, 2]),
        (8, [3, 3, 3], [2, 3, 3]),
        (5, [0, 5, 0], [0, 5, 0]),
        (0, [4, 4], [0, 0]),
    ],
)
def test_the_smallest_stratum_is_served_first(total, sizes, budgets):
    assert water_fill(total, np.array(sizes)).tolist() == budgets


def test_water_fill_always_spends_everything():
    for seed in range(200):
        sizes = rng(seed).integers(0, 20, size=rng(seed).integers(1, 8))
        total = int(rng(seed).integers(sizes.sum() + 1))
        budgets = water_fill(total, sizes)
        assert budgets.sum() == total
        assert (budgets <= sizes).all()


def test_stratified_drops_the_hardest_at_high_ratios():
    """CCS at 90 %: the hardest 30 % go before anything is drawn."""
    assert select(Stratified().at(90), np.arange(1000), 100).max() < 700
    assert select(Stratified().at(70), np.arange(1000), 300).max() > 900


def test_strata_are_equally_wide_and_the_last_is_closed():
    assert strata_of(np.array([0, 0.9, 1, 1.5, 3, 4]), 4).tolist() == [0, 0, 1, 1, 3, 3]
    assert strata_of(np.array([-4, -3, -1.5, -0.5]), 2).tolist() == [0, 0, 1, 1]


def test_stratified_against_the_algorithm():
    scores = rng(4).normal(size=500)
    subset = select(Stratified(strata=10, cutoff=0.1), scores, 150)
    survivors = np.argsort(-scores)[50:]
    edges = np.linspace(scores[survivors].min(), scores[survivors].max(), 11)
    edges[-1] = np.inf
    sizes = np.histogram(scores[survivors], edges)[0]
    assert set(subset) <= set(survivors)
    assert np.histogram(scores[subset], edges)[0].tolist() == water_fill(150, sizes).tolist()


def test_stratified_draws_at_random_within_a_stratum():
    first, second = (select(Stratified(strata=1, cutoff=0.0), np.arange(1000), 100, seed=s) for s in (0, 1))
    assert 0 < len(set(first) & set(second)) < 30


# Beta


@pytest.mark.parametrize(
    ("ratio", "mean"), [(0.3, 0.442), (0.5, 0.473), (0.7, 0.573), (0.8, 0.668), (0.9, 0.807)]
)
def test_the_beta_density_moves_to_easy_images_as_more_is_pruned(ratio, mean):
    a, b = Beta(c_d=4).shape_parameters(0.4, ratio)
    assert a + b == 16
    assert a / 16 == pytest.approx(mean, abs=5e-4)


def test_the_limits_of_the_beta_density():
    assert Beta().shape_parameters(0.4, 0)[0] / 16 == pytest.approx((1 + 15 * 0.4) / 16)
    assert Beta().shape_parameters(0.4, 1) == (16, 0)


@pytest.mark.parametrize("seed", range(5))
def test_beta_takes_the_largest_perturbed_weights(seed):
    scores, m = rng(seed).random(300), rng(seed + 100).random(300)
    mu = m[np.argsort(-scores)[:10]].mean()
    b = 15 * (1 - mu) * (1 - 0.8**4)
    log_weights = stats.beta.logpdf(np.float32(m), 16 - b, b) + np.log(scores)
    expected = np.argsort(-(log_weights + rng(7).gumbel(size=300)))[:60]
    assert set(select(Beta(), scores, 60, seed=7, probability=m)) == set(expected)


def test_beta_draws_in_proportion_to_the_weights():
    scores, m = np.array([0.2, 0.4, 0.1, 0.3]), np.array([0.3, 0.5, 0.7, 0.6])
    b = 15 * (1 - m.mean()) * (1 - 0.75**4)
    weights = stats.beta.pdf(m, 16 - b, b) * scores
    dynamics, source = watched(m), rng()
    draws = [int(Beta(pruned=0.75).select(scores, dynamics, 1, source)[0]) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 4000, weights / weights.sum(), atol=0.03)


def test_beta_does_not_depend_on_the_scale_of_the_scores():
    scores = rng().random(100)
    np.testing.assert_array_equal(select(Beta(), scores, 30), select(Beta(), 10 * scores, 30))


@pytest.mark.parametrize("m", [0.0, 1.0])
def test_beta_copes_with_probabilities_of_exactly_zero_and_one(m):
    probability = np.array([m] * 50 + [0.5] * 50)
    assert len(set(select(Beta(), rng().random(100), 70, probability=probability))) == 70


def test_beta_keeps_images_without_weight_last_and_by_score():
    scores = [-3.0, 0.5, -1.0, 0.4, -2.0]
    subset = select(Beta(), scores, 4, probability=[0.5] * 5)
    assert set(subset[:2]) == {1, 3}
    assert subset[2:].tolist() == [2, 4]


def test_beta_without_any_weight_draws_ties_at_random():
    assert 300 < select(Beta(), np.zeros(1000), 100).mean() < 700


def test_beta_gives_unseen_images_the_mean_probability_of_the_seen():
    scores = rng().random(6)
    complete = watched([0.2, 0.5, 0.5, 0.8, 0.5, 0.5])
    partial = watched([0.2, 0.8], index=[0, 3], images=6)
    subsets = [
        Beta(pruned=0.5).select(scores, dynamics, 3, rng()).tolist() for dynamics in (complete, partial)
    ]
    assert subsets[0] == subsets[1]


def test_beta_draws_by_score_alone_from_a_class_of_which_nothing_was_seen():
    scores = np.linspace(1, 1.01, 1000)
    subset = Beta(pruned=0.9).select(scores, watched(np.zeros(0), images=1000), 100, rng())
    assert 300 < subset.mean() < 700


def test_beta_takes_r_from_the_ratio():
    assert Beta().at(90).pruned == 0.9
    assert Beta(pruned=0.5).at(90).pruned == 0.5


def test_beta_says_when_r_was_never_set():
    with pytest.raises(PrunebenchError, match=r"beta\.pruned is not set"):
        Beta().select(np.ones(5), watched(np.full(5, 0.5)), 2, rng())


def test_beta_draws_which_of_tied_scores_anchor_it():
    """The density rests on the ten highest scores, and which of twenty equal ones is not up to the order."""
    m = np.repeat([0.05, 0.95], 10)
    first, last = (
        [select(Beta(), np.ones(20), 5, seed, m[::step])[0] for seed in range(300)] for step in (1, -1)
    )
    assert np.mean(m[first]) == pytest.approx(np.mean(m[::-1][last]), abs=0.1)


def test_beta_says_when_too_few_epochs_were_recorded():
    with pytest.raises(PrunebenchError, match="epochs is 40, but the proxy network recorded 30 epochs"):
        select(Beta(epochs=40), rng().random(10), 5)


# Known


def test_known_keeps_the_annotated_images():
    assert Annotated().select(np.array([-1, 3, -1, 0]), 2).tolist() == [1, 3]


def test_known_says_when_the_count_differs():
    with pytest.raises(PrunebenchError, match="keeps the 2 annotated images, but 3 are to be kept"):
        Annotated().select(np.array([-1, 3, -1, 0]), 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Random(stream=-1), "random.stream is -1, expected 0 or more"),
        (lambda: Cutoff(cutoff=1.0), "cutoff.cutoff is 1.0, expected in 0..1, below 1"),
        (lambda: Cutoff(cutoff=-0.1), "cutoff.cutoff is -0.1, expected in 0..1, below 1"),
        (lambda: Stratified(strata=0), "stratified.strata is 0, expected above 0"),
        (lambda: Stratified(cutoff=1.5), "stratified.cutoff is 1.5, expected in 0..1, below 1"),
        (lambda: Beta(concentration=0), "beta.concentration is 0, expected above 0"),
        (lambda: Beta(c_d=0), "beta.c_d is 0, expected above 0"),
        (lambda: Beta(pruned=1.1), "beta.pruned is 1.1, expected in 0..1"),
        (lambda: Beta(epochs=0), "beta.epochs is 0, expected above 0"),
    ],
)
def test_a_wrong_field_is_one_line(make, message):
    with pytest.raises(PrunebenchError) as error:
        make()
    assert str(error.value) == message
