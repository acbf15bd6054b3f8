"""Whether rows of one cell say the same, by how far seeds lie apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prunebench.results.agreement import disputed, setting, tolerances


@pytest.fixture
def made(row):
    """made(method=[80.0, 82.0], ...) is the rows of these methods on a GPU, a seed each."""

    def build(*, more=None, **methods):
        return [
            row(method=method, seed=seed, accuracy=accuracy, device="cuda", **more or {})
            for method, accuracies in methods.items()
            for seed, accuracy in enumerate(accuracies)
        ]

    return build


def test_the_spread_is_pooled_over_the_methods_of_a_setting(made):
    """Variances 2 with 1 degree of freedom and 3 with 2; t of 3 degrees of freedom is 3.182446."""
    rows = made(one=[80.0, 82.0], other=[70.0, 73.0, 73.0])
    assert tolerances(rows) == {setting(rows[0]): pytest.approx(3.182446 * math.sqrt(2 * (2 + 2 * 3) / 3))}


@pytest.mark.parametrize(
    "more",
    [
        {"ratio": 90},
        {"recipe": "paper"},
        {"dataset_hash": "e"},
        {"repeats": "training"},
        {"protocol_version": 2},
    ],
)
def test_other_settings_have_a_spread_of_their_own(made, more):
    near, far = made(one=[80.0, 82.0]), made(more=more, one=[20.0, 60.0])
    both = tolerances(near + far)
    assert both == tolerances(near) | tolerances(far)
    assert len(both) == 2


def test_what_is_no_second_seed_measures_no_spread(made):
    """A seed made again, another machine, and the method under other settings."""
    for more in ({}, {"device_name": "another"}, {"method_key": "m"}):
        assert tolerances(made(one=[80.0]) + made(more=more, one=[90.0])) == {}


def test_rows_of_a_gpu_agree_within_what_seeds_do(made):
    """Five seeds of variance 8.5 / 4: t of 4 degrees of freedom is 2.776445, so the limit is 5.7 points."""
    rows = made(one=[78.0, 79.5, 80.0, 80.5, 82.0], other=[60.0])
    limit = tolerances(rows)[setting(rows[0])]
    assert limit == pytest.approx(2.776445 * math.sqrt(2 * 8.5 / 4))
    again = rows[-1].model_copy(update={"accuracy": 60.0 + limit - 0.01})
    assert disputed([*rows, again]) == set()
    again = rows[-1].model_copy(update={"accuracy": 60.0 + limit + 0.01})
    assert disputed([*rows, again]) == {again.cell}


def test_rows_of_a_cpu_agree_only_if_they_are_equal(made):
    rows = made(more={"device_name": "cpu"}, one=[78.0, 82.0])
    rows = [row.model_copy(update={"device": "cpu"}) for row in rows]
    again = rows[0].model_copy(update={"accuracy": 78.01})
    assert disputed([*rows, again]) == {again.cell}


def test_without_two_seeds_any_difference_is_flagged(made):
    """Nothing says what chance does."""
    rows = made(one=[80.0], other=[60.0])
    assert disputed([*rows, *rows]) == set()
    again = rows[0].model_copy(update={"accuracy": 80.01})
    assert disputed([*rows, again]) == {again.cell}


def test_of_draws_that_chance_alone_sets_apart_95_of_100_agree(made):
    rng = np.random.default_rng(0)
    agreed = 0
    for _ in range(400):
        rows = made(one=rng.normal(80, 1, 3), other=rng.normal(60, 1, 3))
        first, again = rng.normal(70, 1, 2)
        agreed += abs(first - again) <= tolerances(rows)[setting(rows[0])]
    assert 0.92 < agreed / 400 < 0.98
