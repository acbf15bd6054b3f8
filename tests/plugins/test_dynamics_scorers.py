from fractions import Fraction

import numpy as np
import pytest
from scipy import special, stats

from prunebench.errors import PrunebenchError
from prunebench.nn import networks
from prunebench.nn.recorder import Recorder
from prunebench.nn.training import embed, predict, train
from prunebench.parts.artefacts import Dynamics, Weights
from prunebench.parts.base import reads_proxy
from prunebench.parts.conformance import conform
from prunebench.parts.images import Images
from prunebench.parts.problem import WEIGHTS, synthetic_problem
from prunebench.parts.recipe import Recipe
from prunebench_plugins.scorers import final_logits, windows
from prunebench_plugins.scorers.correctness import Correctness
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.entropy import Entropy
from prunebench_plugins.scorers.margin import Margin
from prunebench_plugins.scorers.tdds import Tdds
from prunebench_plugins.scorers.windows import over_windows


def recorded(**series):
    """Return the dynamics of these series, [epochs, images]; the others are 0."""
    given = {name: np.array(values, dtype=float) for name, values in series.items()}
    shape = next(iter(given.values())).shape
    everything = dict.fromkeys(Dynamics.series, np.zeros(shape)) | given
    return Dynamics(images=shape[1], index=np.arange(shape[1]), **everything)


def watched(*own):
    """Return the dynamics of one image per argument, a sequence of probabilities of its label."""
    return recorded(label_probability=np.transpose(own), other_probability=1 - np.transpose(own))


# Windows


def every_window(series, window):
    """Return the mean and the standard deviation of every window, [windows, images], one by one."""
    series = np.asarray(series, np.float64)
    cut = [series[start : start + window] for start in range(len(series) - window + 1)]
    return np.array([c.mean(axis=0) for c in cut]), np.array([c.std(axis=0, ddof=1) for c in cut])


@pytest.mark.parametrize("window", [*range(2, 18), 31, 32])
@pytest.mark.parametrize("scratch", [1, 100, windows.SCRATCH], ids=["one by one", "few", "all"])
def test_windows_are_those_of_a_loop(window, scratch, monkeypatch):
    monkeypatch.setattr(windows, "SCRATCH", scratch)
    series = np.random.default_rng(window).random((32, 9)).astype(np.float32)
    mean, std = every_window(series, window)
    ages = np.arange(len(mean))[:, None]
    np.testing.assert_allclose(
        over_windows(series, window, lambda m, s: (ages * m).sum(0)), (ages * mean).sum(0)
    )
    np.testing.assert_allclose(
        over_windows(series, window, lambda m, s: (ages * s).sum(0)), (ages * std).sum(0)
    )


@pytest.mark.parametrize("window", range(2, 18))
def test_the_deviation_of_equal_values_is_exactly_zero(window):
    values = np.random.default_rng(0).random(500).astype(np.float32) ** 8
    assert not over_windows(np.tile(values, (20, 1)), window, lambda _mean, std: std.max(axis=0)).any()


@pytest.mark.parametrize("window", [2, 3, 7, 8, 10])
@pytest.mark.parametrize("level", [1.0, 0.3, 1e-6])
def test_the_deviation_of_values_that_hardly_differ_is_accurate(window, level):
    """After a large value has left the window, differences in the last digit of float32 are still seen."""
    steady = np.float32(level)
    settled = [np.nextafter(steady, np.float32(0)) if place % 3 else steady for place in range(20)]
    series = np.array([0.5, 0.9, *settled], np.float32)[:, None]
    exact = [Fraction(float(value)) for value in series[-window:, 0]]
    mean = sum(exact) / window
    expected = float(sum((value - mean) ** 2 for value in exact) / (window - 1)) ** 0.5
    last = over_windows(series, window, lambda _mean, std: std[-1])
    np.testing.assert_allclose(last, [expected], rtol=1e-7)


def test_dual_with_a_small_exponent_amplifies_no_noise_of_a_settled_prediction():
    rising = [0.1, 0.6, 0.3, 0.9, 0.7, 0.8, 0.95, 0.999, *[1 - 1e-7] * 22]
    means, stds = every_window(np.float32(rising)[:, None], 10)
    expected = (stds[:8] ** 0.25 * (1 - means[:8])).sum() / 21
    np.testing.assert_allclose(Dual(exponent=0.25).score(watched(rising)), [expected], rtol=1e-9)


# Dyn-Unc


@pytest.mark.parametrize(
    ("window", "start", "epochs"), [(10, 0, None), (6, 2, None), (5, 3, 20), (25, 0, 25)]
)
def test_dyn_unc_is_the_mean_deviation_over_windows(window, start, epochs):
    q = np.random.default_rng(0).random((25, 7))
    seen = q[start : epochs or 25]
    expected = [
        np.mean([stats.tstd(seen[k : k + window, i]) for k in range(len(seen) - window + 1)])
        for i in range(7)
    ]
    score = DynUnc(window=window, start=start, epochs=epochs).score(recorded(label_probability=q))
    np.testing.assert_allclose(score, expected, atol=1e-6)


def test_dyn_unc_by_hand():
    # The unbiased standard deviation of five 0s and five 1s is sqrt(10/36); a steady image has none.
    scores = DynUnc().score(watched([0, 1] * 10, [0.4] * 20))
    np.testing.assert_allclose(scores, [np.sqrt(10 / 36), 0], atol=1e-12)


def test_dyn_unc_looks_at_no_other_epochs():
    inside = [0.2, 0.8, 0.4, 0.9]
    outside = DynUnc(window=2, start=2, epochs=6).score(watched([0, 1, *inside, 0, 1]))
    assert outside == DynUnc(window=2).score(watched(inside))


def test_dyn_unc_is_high_for_what_keeps_moving_whether_easy_or_hard():
    moving_low, moving_high, steady = [0.1, 0.3] * 10, [0.8, 1.0] * 10, [0.5, 0.51] * 10
    low, high, least = DynUnc().score(watched(moving_low, moving_high, steady))
    assert least < low == pytest.approx(high)


def test_dyn_unc_says_when_too_few_epochs_were_recorded():
    with pytest.raises(PrunebenchError, match=r"^dyn_unc\.epochs is 30, but the proxy .* recorded 20 epochs"):
        DynUnc(epochs=30).score(watched([0.5] * 20))
    with pytest.raises(PrunebenchError, match=r"^dyn_unc\.start \+ dyn_unc\.window is 12, but .* 11 epochs"):
        DynUnc(start=2).score(watched([0.5] * 11))


# TDDS


def naive_tdds(p, epochs, window, decay=0.9):
    """Return the score of each image from the probabilities, [epochs, n, classes], as the formula has it."""
    d = [
        np.abs(p[t + 1] * (np.log(p[t + 1] + 1e-8) - np.log(p[t] + 1e-8))).sum(axis=1)
        for t in range(epochs - 1)
    ]
    total = np.zeros(p.shape[1])
    for k in range(epochs - window + 1):
        inside = np.array(d[k : k + window - 1])
        norm = np.sqrt(((inside - inside.mean(axis=0)) ** 2).sum(axis=0))
        total += norm * decay * (1 - decay) ** (epochs - window - k)
    return total


def noted(logits, labels):
    """Return the dynamics of these logits, [epochs, n, classes], as the training loop records them."""
    import torch

    recorder = Recorder(len(logits), len(labels), logits.shape[2], "cpu")
    for epoch in torch.tensor(logits, dtype=torch.float32):
        recorder.note(torch.arange(len(labels)), torch.tensor(labels), epoch, torch.ones(len(labels), 2))
        recorder.close()
    series = dict(zip(Dynamics.series, recorder.series, strict=True))
    return Dynamics(images=len(labels), index=np.arange(len(labels)), **series)


@pytest.mark.parametrize(
    ("epochs", "window", "decay"), [(30, 10, 0.9), (20, 10, 0.9), (10, 5, 0.9), (12, 3, 0.5), (10, 10, 0.9)]
)
def test_tdds_against_the_probabilities_of_a_recorded_training(epochs, window, decay):
    rng = np.random.default_rng(epochs)
    logits = rng.normal(0, 2, (32, 9, 5))
    dynamics = noted(logits, rng.integers(5, size=9))
    expected = naive_tdds(special.softmax(logits, axis=2), epochs, window, decay)
    scores = Tdds(epochs=epochs, window=window, decay=decay).score(dynamics)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_tdds_by_hand():
    # Windows of two divergences: |1 - 1|, |1 - 3| and |3 - 3| over sqrt 2, the last weighing 0.9.
    dynamics = recorded(divergence=np.transpose([[9, 1, 1, 3, 3]]))
    expected = (0 * 0.009 + 2 * 0.09 + 0 * 0.9) / np.sqrt(2)
    np.testing.assert_allclose(Tdds(epochs=5, window=3).score(dynamics), [expected])
    np.testing.assert_allclose(Tdds(epochs=4, window=3).score(dynamics), [2 * 0.9 / np.sqrt(2)])


def test_tdds_of_a_steady_prediction_is_zero():
    assert Tdds().score(noted(np.ones((30, 2, 3)), np.array([0, 1]))).tolist() == [0, 0]


def test_tdds_with_all_weight_on_the_last_window():
    d = np.random.default_rng(1).random((30, 4))
    last = Tdds(epochs=10, window=10).score(recorded(divergence=d[20:])) / 0.9
    np.testing.assert_allclose(Tdds(decay=1).score(recorded(divergence=d)), last)


def test_tdds_says_when_too_few_epochs_were_recorded():
    with pytest.raises(PrunebenchError, match=r"^tdds\.epochs is 30, but the proxy .* recorded 29 epochs"):
        Tdds().score(recorded(divergence=np.ones((29, 1))))


# Entropy


def trained_on(images=40):
    """Return images, and a network trained on most of them that recorded its dynamics."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(images, 1, 8, 8), dtype=np.uint8)
    shown = Images(pixels, mean=(0.5,), std=(0.25,))
    labels = np.where(np.arange(images) % 5, np.arange(images) % 3, -1)
    recipe = Recipe(network="cnn", epochs=2, batch=8)
    index = np.flatnonzero(labels >= 0)
    return shown, train(shown, labels, recipe, classes=3, rng=rng, device="cpu", index=index, record=True)


@pytest.mark.parametrize("rows", [7, final_logits.ROWS])
def test_entropy_is_that_of_the_final_network_on_every_plain_image(rows, monkeypatch):
    monkeypatch.setattr(final_logits, "ROWS", rows)
    images, trained = trained_on()
    weights = Weights(network="cnn", values=networks.state(trained.network))
    scores = Entropy().score(weights=weights, embeddings=embed(trained.network, images, device="cpu"))
    expected = stats.entropy(predict(trained.network, images, device="cpu"), axis=1)
    assert scores.dtype == np.float64 and len(scores) == 40
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_entropy_of_the_last_epoch_is_what_was_recorded_last():
    logits = np.random.default_rng(0).normal(0, 2, (3, 6, 4))
    scores = Entropy(mode="last_epoch").score(noted(logits, np.zeros(6, int)))
    np.testing.assert_allclose(scores, stats.entropy(special.softmax(logits[-1], axis=1), axis=1), rtol=1e-5)


def test_entropy_runs_from_zero_to_log_classes():
    embeddings = np.zeros((3, 16), np.float32)
    embeddings[1, 2], embeddings[2, :2] = 1e4, 1e4
    scores = Entropy().score(weights=WEIGHTS, embeddings=embeddings)
    np.testing.assert_allclose(scores, [np.log(4), 0, np.log(2)], atol=1e-12)


def test_entropy_asks_for_the_proxy_network_only_for_its_final_prediction():
    assert reads_proxy(Entropy()) and Entropy().needs() == {"weights": True, "embeddings": True}
    assert Entropy(mode="last_epoch").needs() == {"dynamics": True}


@pytest.mark.parametrize("weights", [{}, {"head.weight": np.ones((4, 9)), "head.bias": np.ones(4)}])
def test_entropy_says_when_the_network_is_not_there(weights):
    with pytest.raises(
        PrunebenchError, match=r"these weights do not hold it; set entropy\.mode = 'last_epoch'"
    ):
        given = Weights(network="cnn", values=weights)
        Entropy().score(weights=given, embeddings=np.ones((1, 16), np.float32))


# Margin


@pytest.mark.parametrize("rows", [7, final_logits.ROWS])
def test_margin_compares_the_two_highest_probabilities_of_every_plain_image(rows, monkeypatch):
    monkeypatch.setattr(final_logits, "ROWS", rows)
    images, trained = trained_on()
    weights = Weights(network="cnn", values=networks.state(trained.network))
    scores = Margin().score(weights, embed(trained.network, images, device="cpu"))
    probability = np.sort(predict(trained.network, images, device="cpu"), axis=1)
    assert scores.dtype == np.float64 and len(scores) == 40
    np.testing.assert_allclose(scores, 1 - (probability[:, -1] - probability[:, -2]), rtol=1e-4)


def test_margin_runs_from_zero_to_one():
    embeddings = np.zeros((3, 16), np.float32)
    embeddings[1, 2], embeddings[2, :2] = 1e4, 1e4
    scores = Margin().score(WEIGHTS, embeddings)
    np.testing.assert_allclose(scores, [1, 0, 1], atol=1e-12)


def test_margin_says_when_the_network_is_not_there():
    with pytest.raises(PrunebenchError, match=r"^margin needs the last layer .*; choose another scorer"):
        Margin().score(Weights(network="cnn", values={}), np.ones((1, 16), np.float32))


# Correctness


def test_correctness_is_minus_the_share_of_epochs_with_a_correct_prediction():
    always, never, thrice, tied = [0.9] * 4, [0.1] * 4, [0.6, 0.4, 0.7, 0.8], [0.5] * 4
    scores = Correctness().score(watched(always, never, thrice, tied))
    assert scores.tolist() == [-1, 0, -0.75, 0]
    assert not np.signbit(scores[1])


# All

SCORERS = [DynUnc(), Tdds(), Entropy(mode="last_epoch"), Correctness()]


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda s: s.name)
def test_scores_are_float64_one_per_image_seen(scorer):
    dynamics = synthetic_problem().dynamics
    scores = scorer.score(dynamics)
    index = np.arange(120) * 2
    partial = Dynamics(**vars(dynamics) | {"images": 240, "index": index})
    assert scores.dtype == np.float64 and scores.shape == (120,)
    assert scorer.score(partial).tolist() == scores.tolist()
    conform(scorer)


@pytest.mark.parametrize("scorer", [Entropy(), Margin()], ids=lambda s: s.name)
def test_scorers_of_the_final_prediction_conform(scorer):
    conform(scorer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DynUnc(window=1), "dyn_unc.window is 1, expected 2 or more epochs"),
        (lambda: DynUnc(start=-1), "dyn_unc.start is -1, expected 0 or more"),
        (
            lambda: DynUnc(start=5, epochs=14),
            "dyn_unc.epochs is 14, expected 15 (start + window) or more, or None for all",
        ),
        (lambda: Tdds(window=2), "tdds.window is 2, expected 3 or more epochs"),
        (lambda: Tdds(epochs=9), "tdds.epochs is 9, expected 10 (the window) or more"),
        (lambda: Tdds(decay=0), "tdds.decay is 0, expected above 0, up to 1"),
        (lambda: Tdds(decay=1.1), "tdds.decay is 1.1, expected above 0, up to 1"),
        (lambda: Entropy(mode="mean"), "entropy.mode is 'mean', expected 'final' or 'last_epoch'"),
        (
            lambda: Entropy(backbone="pixels"),
            "entropy.backbone is 'pixels', expected 'proxy', whose head it reads",
        ),
        (
            lambda: Margin(backbone="pixels"),
            "margin.backbone is 'pixels', expected 'proxy', whose head it reads",
        ),
    ],
)
def test_a_wrong_field_is_one_line(make, message):
    with pytest.raises(PrunebenchError) as error:
        make()
    assert str(error.value) == message
