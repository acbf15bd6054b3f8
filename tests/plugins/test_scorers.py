from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Dynamics
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.forgetting import Forgetting

few_examples = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def record(p, labels):
    """Return the dynamics of softmax outputs p [epochs, n, classes]; the logits are log p."""
    images = np.arange(len(labels))
    others = p.copy()
    others[:, images, labels] = 0
    own, other = p[:, images, labels], others.max(axis=2)
    zeros = np.zeros_like(own)
    return Dynamics(
        images=len(labels),
        index=images,
        label_probability=own,
        other_probability=other,
        error_norm=np.hypot(1 - own, np.linalg.norm(others, axis=2)),
        entropy=zeros,
        divergence=zeros,
        logit_margin=np.log(own) - np.log(other),
        feature_norm=zeros,
    )


def watch(*own, other=None):
    """Return the dynamics of one image per argument, a sequence of probabilities of its label."""
    own = np.array(own, dtype=float).T
    zeros = np.zeros_like(own)
    return Dynamics(
        images=own.shape[1],
        index=np.arange(own.shape[1]),
        label_probability=own,
        other_probability=1 - own if other is None else np.array(other, dtype=float).T,
        error_norm=np.sqrt(2) * (1 - own),
        entropy=zeros,
        divergence=zeros,
        logit_margin=zeros,
        feature_norm=zeros,
    )


def random_outputs(seed, epochs=30, images=7, classes=5):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (epochs, images, classes))
    p = np.exp(logits)
    return p / p.sum(axis=2, keepdims=True), rng.integers(classes, size=images)


# AUM


@few_examples
@given(seeds)
def test_aum_is_the_negated_mean_margin(seed):
    p, labels = random_outputs(seed)
    expected = []
    for i, y in enumerate(labels):
        margins = [p[t, i, y] - np.delete(p[t, i], y).max() for t in range(30)]
        expected.append(-sum(margins) / 30)
    np.testing.assert_allclose(Aum().score(record(p, labels)), expected, atol=1e-5)


def test_aum_of_logits():
    p, labels = random_outputs(3)
    expected = []
    for i, y in enumerate(labels):
        z = np.log(p[:, i])
        expected.append(-np.mean(z[:, y] - np.delete(z, y, axis=1).max(axis=1)))
    np.testing.assert_allclose(Aum(margin="logit").score(record(p, labels)), expected, atol=1e-5)


def test_aum_summed_epoch_by_epoch_is_the_same():
    dynamics = record(*random_outputs(1))
    running = np.zeros(7)
    for epoch in range(30):
        running += dynamics.margin[epoch]
    np.testing.assert_allclose(Aum().score(dynamics), -running / 30, atol=1e-6)


def test_aum_is_high_for_an_image_whose_label_never_gets_ahead():
    easy, hard = [0.9] * 4, [0.1] * 4
    np.testing.assert_allclose(Aum().score(watch(easy, hard)), [-0.8, 0.8], atol=1e-6)


# DUAL


@few_examples
@given(seeds, st.sampled_from([1.0, 0.5, 0.25]))
def test_dual_is_the_mean_of_uncertainty_times_difficulty_over_windows(seed, exponent):
    p, labels = random_outputs(seed, epochs=25)
    expected = []
    for i, y in enumerate(labels):
        q = p[:20, i, y]
        windows = [q[k : k + 6] for k in range(15)]
        expected.append(np.mean([np.std(w, ddof=1) ** exponent * (1 - np.mean(w)) for w in windows]))
    dual = Dual(window=6, epochs=20, exponent=exponent)
    np.testing.assert_allclose(dual.score(record(p, labels)), expected, atol=1e-5)


def test_dual_of_an_alternating_prediction():
    # The unbiased standard deviation of five 0s and five 1s is sqrt(10/36), and their mean is 0.5.
    score = Dual(window=10, epochs=10).score(watch([0, 1] * 5))
    np.testing.assert_allclose(score, [0.5 * np.sqrt(10 / 36)], atol=1e-12)
    np.testing.assert_allclose(score, [0.26352], atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.7, 1 - 1e-7, 1.0])
@pytest.mark.parametrize("exponent", [1.0, 0.25])
def test_dual_of_a_constant_prediction_is_exactly_zero(constant, exponent):
    assert Dual(exponent=exponent).score(watch([constant] * 30)) == [0.0]


def test_dual_of_a_prediction_that_settles_is_exactly_zero_from_then_on():
    rising = [0.1, 0.6, 0.3, 0.9, 1, 1, 1, 1, 1, 1]
    windows = [rising[k : k + 2] for k in range(9)]
    expected = np.mean([np.std(w, ddof=1) ** 0.25 * (1 - np.mean(w)) for w in windows[:4]]) * 4 / 9
    score = Dual(window=2, epochs=10, exponent=0.25).score(watch(rising))
    np.testing.assert_allclose(score, [expected], atol=1e-6)


def test_dual_looks_at_the_first_epochs_only():
    early = [0.2, 0.8, 0.4]
    dual = Dual(window=2, epochs=3)
    assert dual.score(watch([*early, 0.0, 1.0])) == dual.score(watch(early))


def test_dual_is_high_for_difficult_and_uncertain():
    uncertain, easy, hopeless = [0.1, 0.6] * 5, [0.9, 1.0] * 5, [0.0, 0.01] * 5
    scores = Dual(window=10, epochs=10).score(watch(uncertain, easy, hopeless))
    assert scores.argmax() == 0


def test_dual_ranks_as_the_published_code_does():
    """The released code multiplies by 10, and one copy divides the variance by J instead of J - 1."""
    p, labels = random_outputs(5, images=40)
    q = p[:, np.arange(40), labels]
    published = np.zeros(40)
    for k in range(21):
        published += 10 * q[k : k + 10].std(axis=0) * (1 - q[k : k + 10].mean(axis=0))
    np.testing.assert_array_equal(np.argsort(Dual().score(record(p, labels))), np.argsort(published))


def test_dual_says_when_too_few_epochs_were_recorded():
    with pytest.raises(PrunebenchError, match=r"dual\.epochs is 30, but the proxy .* recorded 20 epochs"):
        Dual().score(watch([0.5] * 20))


# EL2N


@few_examples
@given(seeds)
def test_el2n_is_the_distance_to_the_one_hot_label(seed):
    p, labels = random_outputs(seed)
    error = np.linalg.norm(p - np.eye(5)[labels], axis=2)
    dynamics = record(p, labels)
    np.testing.assert_allclose(El2n().score(dynamics), error[:10].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(El2n(start=5, stop=16).score(dynamics), error[5:16].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(El2n(mode="snapshot", stop=21).score(dynamics), error[20], rtol=1e-6)


def test_el2n_runs_from_zero_to_the_square_root_of_two():
    right, wrong = [1.0] * 10, [0.0] * 10
    np.testing.assert_allclose(El2n().score(watch(right, wrong)), [0, np.sqrt(2)])


def test_el2n_says_when_too_few_epochs_were_recorded():
    with pytest.raises(PrunebenchError, match=r"el2n\.stop is 10, but the proxy network recorded 4 epochs"):
        El2n().score(watch([0.5] * 4))


# Forgetting


def test_forgetting_counts_correct_predictions_lost():
    twice, never, once_learned = [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 1, 1]
    dynamics = watch(twice, never, once_learned)
    assert Forgetting().score(dynamics).tolist() == [2, 0, 0]
    assert Forgetting(never_learned="max").score(dynamics).tolist() == [2, 5, 0]


def test_forgetting_takes_a_tie_for_a_wrong_prediction():
    assert Forgetting().score(watch([0.9, 0.5, 0.9, 0.5])).tolist() == [2]


@few_examples
@given(seeds)
def test_forgetting_against_counting(seed):
    p, labels = random_outputs(seed)
    correct = p.argmax(axis=2) == labels
    expected = [sum(a and not b for a, b in pairwise(c)) for c in correct.T]
    assert Forgetting().score(record(p, labels)).tolist() == expected


# All


@pytest.mark.parametrize("scorer", [Aum(), Dual(), El2n(), Forgetting()], ids=lambda s: s.name)
def test_scores_are_float64_one_per_image_seen(scorer):
    p, labels = random_outputs(0, images=3)
    dynamics = record(p, labels)
    partial = Dynamics(**vars(dynamics) | {"images": 8, "index": np.array([1, 4, 6])})
    assert scorer.score(partial).dtype == np.float64
    assert scorer.score(partial).tolist() == scorer.score(dynamics).tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Aum(margin="softmax"), "aum.margin is 'softmax', expected 'probability' or 'logit'"),
        (lambda: Dual(window=1), "dual.window is 1, expected 2 or more epochs"),
        (lambda: Dual(epochs=5), "dual.epochs is 5, expected 10 (the window) or more"),
        (lambda: Dual(exponent=0), "dual.exponent is 0, expected above 0"),
        (lambda: El2n(start=-1), "el2n.start is -1, expected 0 or more"),
        (lambda: El2n(start=10), "el2n.stop is 10, expected above start, which is 10"),
        (lambda: El2n(mode="sum"), "el2n.mode is 'sum', expected 'mean' or 'snapshot'"),
        (
            lambda: Forgetting(never_learned="inf"),
            "forgetting.never_learned is 'inf', expected 'zero' or 'max'",
        ),
    ],
)
def test_a_wrong_field_is_one_line(make, message):
    with pytest.raises(PrunebenchError) as error:
        make()
    assert str(error.value) == message
