"""Learning curves: on simulated power laws the interval holds the truth as often as it says."""

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.results.learning_curve import Curve, Estimate
from prunebench.results.statistics import mean_interval, resampled_interval

SIZES = np.array([10, 20, 40, 80, 160])
# Offset, factor and exponent: a curve that goes on, one that ends, a steep one, one that is nearly flat.
LAWS = [(0.0, 1.5, 0.4), (0.15, 2.0, 0.7), (0.01, 6.0, 1.0), (0.3, 0.5, 0.3)]


def error(law, labels):
    offset, factor, exponent = law
    return offset + factor * labels**-exponent


def simulated(law, images, rng, alike=0.7):
    """Draw whether each image is wrong at each size. `alike`: share of images hard or easy for all sizes."""
    common, own = rng.random((images, 1)), rng.random((images, len(SIZES)))
    threshold = np.where(rng.random((images, 1)) < alike, common, own)
    return Curve(sizes=SIZES, wrong=(threshold < error(law, SIZES.astype(float))).astype(float))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("factor", [2, 8])
def test_the_interval_holds_the_truth_in_nine_of_ten_simulations(law, factor):
    rng, held = np.random.default_rng(0), []
    for _ in range(100):
        found = simulated(law, 200, rng).predicted(factor * 200)
        held.append(found.low <= 100 - 100 * error(law, factor * 200) <= found.high)
    assert np.mean(held) >= 0.9


@pytest.mark.parametrize("law", LAWS)
def test_many_images_narrow_the_interval_around_the_truth(law):
    rng = np.random.default_rng(1)
    few, many = (simulated(law, images, rng).predicted(640) for images in (100, 20_000))
    assert many.high - many.low < few.high - few.low
    assert abs(many.value - (100 - 100 * error(law, 640))) < many.margin < few.margin


@pytest.mark.parametrize("law", LAWS)
def test_more_labels_are_never_predicted_to_harm(law):
    curve = simulated(law, 200, np.random.default_rng(2))
    counts = [1, 2, 5, 10, 100, 160, 1000, 10**6]
    accuracies = [curve.accuracy(count) for count in counts]
    assert accuracies == sorted(accuracies)
    gains = [curve.accuracy(2 * count) - curve.accuracy(count) for count in counts[3:]]
    assert gains == sorted(gains, reverse=True)
    assert curve.gained(160, 320).low >= 0


def test_a_prediction_further_out_is_less_certain():
    curve = simulated(LAWS[1], 200, np.random.default_rng(3))
    ranges = [curve.gained(160, 160 * factor) for factor in (2, 8, 32)]
    widths = [found.high - found.low for found in ranges]
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_a_flat_curve_does_not_climb():
    flat, steep = (simulated(law, 200, np.random.default_rng(4)) for law in ((0.4, 0, 1), LAWS[2]))
    assert flat.climb.low < 0 < flat.climb.high
    assert 0 < steep.climb.low < steep.climb.value < steep.climb.high


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_networks_that_are_always_right_or_always_wrong_are_no_certainty(wrong):
    curve = Curve(sizes=SIZES, wrong=np.full((50, 5), wrong))
    for found in (curve.predicted(400), curve.measured(4)):
        assert 0 <= found.low < found.high <= 100
    found = curve.predicted(400)
    assert abs(found.value - (100 - 100 * wrong)) < 5


def test_measured_accuracies_are_means_with_the_noise_of_their_images():
    curve = simulated(LAWS[0], 400, np.random.default_rng(5), alike=0)
    found = curve.measured(2)
    assert found.value == pytest.approx(100 - 100 * curve.wrong[:, 2].mean())
    binomial = 196 * np.sqrt(curve.wrong[:, 2].var() / 400)
    assert binomial < found.margin < 2 * binomial


@pytest.mark.parametrize(
    ("sizes", "shape", "message"),
    [
        ([10, 20], (9, 2), "three ascending sizes or more, got"),
        ([10, 20, 20], (9, 3), "three ascending sizes or more, got"),
        ([0, 20, 40], (9, 3), "three ascending sizes or more, got"),
        ([10, 20, 40], (9, 4), r"errors of shape \(9, 4\), expected \[images, 3\]"),
        ([10, 20, 40], (1, 3), "two images or more"),
    ],
)
def test_what_is_no_curve_is_refused(sizes, shape, message):
    with pytest.raises(PrunebenchError, match=message):
        Curve(sizes=np.array(sizes), wrong=np.zeros(shape))


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_an_error_is_a_share(value):
    with pytest.raises(PrunebenchError, match=r"errors outside 0\.\.1"):
        Curve(sizes=SIZES, wrong=np.full((9, 5), value))


def test_an_estimate_reads_with_the_wider_side():
    assert str(Estimate(90.0, 86.04, 92.0)) == "90.0 ± 4.0"


def test_splits_that_share_images_are_no_independent_runs():
    values = [1.0, 2.0, 4.0, 1.5, 2.5]
    low, high = resampled_interval(values, tested=0.2)
    plain_low, plain_high = mean_interval(values)
    # 1/5 + 0.2 / 0.8 in the place of 1/5
    assert (high - low) / (plain_high - plain_low) == pytest.approx(np.sqrt(0.45 / 0.2))
    assert low + high == pytest.approx(plain_low + plain_high)
    assert resampled_interval([1.0], tested=0.2) is None
