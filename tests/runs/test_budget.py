"""A budget picks whole comparisons first, seed by seed, and says what it leaves out."""

import re

import pytest

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors import local
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import Forecast
from prunebench.runs.budget import Budget, budget, within

METHODS = ("random", "el2n_supervised")
HOUR = 3600.0


def known(matrix, **hours):
    """Return a forecast in which stages of some kinds take so many hours a unit of work, and others none."""
    forecast = Forecast()
    for stage in matrix.graph.stages.values():
        forecast.learn(stage, hours.get(stage.kind, 0.0) * HOUR * stage.work)
    return forecast


def hours(count, workers=1, gpu_alone=False):
    return Budget(f"{count}h", count * HOUR, workers, gpu_alone)


def picked(matrix):
    return {cell.name for cell in matrix.cells}


def names(methods, ratios, seeds):
    return {f"{m} toy {ratio}% seed {seed}" for m in methods for ratio in ratios for seed in seeds}


@pytest.fixture
def grid(matrix):
    """Two methods, two ratios, two seeds: a final training of a cell takes an hour or a bit more or less."""
    return matrix(*METHODS, ratios=[50, 51], seeds=[0, 1])


def test_whole_comparisons_come_first_and_those_of_the_first_seed_before_the_next(grid):
    forecast = known(grid, accuracy=1.0)
    took = {stage.ratio: forecast.estimate([stage])[0] / HOUR for stage in grid.graph.targets.values()}
    one = 2 * took[50]
    both = one + 2 * took[51]
    for limit, expected in (
        (one, names(METHODS, [50], [0])),
        (both, names(METHODS, [50, 51], [0])),
        (both + one, names(METHODS, [50, 51], [0]) | names(METHODS, [50], [1])),
        (2 * both, names(METHODS, [50, 51], [0, 1])),
    ):
        fitting, _ = within(grid, forecast, hours(limit + 1e-6))
        assert picked(fitting) == expected


def test_single_cells_fill_what_whole_comparisons_leave(grid):
    forecast = known(grid, accuracy=1.0)
    took = forecast.estimate(grid.graph.targets.values())[0] / HOUR / 8
    fitting, left_out = within(grid, forecast, hours(5.2 * took))
    assert picked(fitting) == names(METHODS, [50, 51], [0]) | names(["random"], [50], [1])
    assert re.fullmatch(
        r"--budget \S+h leaves out 3 of 8 cells: toy seeds 1\. It keeps 5, for about [0-9.]+ h",
        left_out,
    )


def test_what_cells_share_is_counted_once(grid):
    """The proxy training of a seed, which both ratios need."""
    forecast = known(grid, dynamics=1.0)
    fitting, _ = within(grid, forecast, hours(1.2))
    assert picked(fitting) == names(METHODS, [50, 51], [0]) | names(["random"], [50, 51], [1])


def test_what_is_stored_costs_nothing(matrix, make):
    make(matrix(*METHODS, seeds=[1]))
    both = matrix(*METHODS, seeds=[0, 1])
    fitting, left_out = within(both, known(both, accuracy=1.0), hours(0.1))
    assert picked(fitting) == names(METHODS, [50], [1])
    assert "leaves out 2 of 4 cells: toy seeds 0. It keeps 2, for about 0.0 s" in left_out


def test_a_budget_for_all_leaves_out_nothing(grid):
    fitting, left_out = within(grid, known(grid, accuracy=1.0), hours(100))
    assert (fitting.cells, left_out) == (grid.cells, None)


def test_workers_share_the_hours_of_a_run(grid):
    forecast = known(grid, accuracy=1.0)
    fitting = [
        within(grid, forecast, hours(count, workers))[0] for count, workers in ((3, 1), (1.5, 2), (3, 2))
    ]
    assert [len(picked(one)) for one in fitting] == [4, 4, 8]


def test_hours_of_gpu_are_those_of_stages_on_a_gpu(matrix):
    on_gpu = matrix(*METHODS, seeds=[0, 1], device="cuda")
    forecast = known(on_gpu, scores=50.0, accuracy=1.0)
    fitting, left_out = within(on_gpu, forecast, hours(2, gpu_alone=True))
    assert picked(fitting) == names(METHODS, [50], [0]) | names(["random"], [50], [1])
    assert left_out.endswith(" of GPU")
    whole, _ = within(on_gpu, forecast, hours(2))
    assert picked(whole) == names(["random"], [50], [0, 1])


def test_an_unknown_time_is_refused_and_so_is_a_budget_in_which_nothing_fits(grid):
    with pytest.raises(
        PrunebenchError, match=r"nobody knows how long \d+ stages take, the first \w+ .* of toy;"
    ):
        within(grid, Forecast(), hours(1))
    with pytest.raises(PrunebenchError, match=r"^--budget 0.1h: no cell fits, the shortest takes \d+ min$"):
        within(grid, known(grid, accuracy=1.0), hours(0.1))


@pytest.mark.parametrize(
    ("text", "device", "engine", "expected"),
    [
        ("6h", "cpu", Engine(), (6 * HOUR, 12, False)),
        ("1.5h", "cpu", Engine(workers=0), (1.5 * HOUR, 1, False)),
        ("6h", "cuda", Engine(gpus=("0", "1")), (6 * HOUR, 2, False)),
        ("6h", "cuda", Engine(gpus=("0", "1"), workers_per_gpu="auto"), (6 * HOUR, 2, False)),
        ("6h", "cpu", Engine(name="dask", workers=7), (6 * HOUR, 7, False)),
        ("20gpuh", "cuda", Engine(name="dask"), (20 * HOUR, 1, True)),
    ],
)
def test_a_budget_is_read(monkeypatch, text, device, engine, expected):
    monkeypatch.setattr(local, "cores", lambda: 12)
    assert budget(text, device, engine) == Budget(text, *expected)


@pytest.mark.parametrize("text", ["6", "h", "0h", "-1h", "6 h", "6cpuh", "1e3h", "infh"])
def test_what_is_no_budget_is_named(text):
    with pytest.raises(PrunebenchError, match="expected hours, as 6h, or hours of GPU, as 20gpuh"):
        budget(text, "cpu", Engine())


def test_budgets_that_nothing_can_keep_are_named():
    with pytest.raises(PrunebenchError, match="this run computes on the CPU; write it in h"):
        budget("20gpuh", "cpu", Engine())
    with pytest.raises(PrunebenchError, match="say by --workers how many --executor ray will have"):
        budget("20h", "cpu", Engine(name="ray"))
    with pytest.raises(PrunebenchError, match="leave out --processes-per-training"):
        budget("20h", "cpu", Engine(processes=2))


@pytest.mark.parametrize("option", ["until-separated", "certify", "fresh random"])
def test_what_makes_further_stages_goes_with_no_budget(cli, option):
    told = cli(f"run --suite quickstart --budget 1h --{option}")
    name = option.split()[0]
    assert (told.code, told.err) == (
        2,
        f"Error: --{name} makes stages that no budget knows; leave out --budget\n",
    )


SUITE = """
title = "Digits"
datasets = ["digits"]
methods = ["random"]
ratios = [80]
seeds = 2
recipe = "tiny"
"""


def test_a_run_makes_what_fits_and_says_what_is_left_out(cli, suite_file, monkeypatch):
    def probed(_matrix, forecast, stages):
        for stage in stages:
            forecast.learn(stage, HOUR * stage.work)

    monkeypatch.setattr("prunebench.pipeline.forecast.probe", probed)
    line = f"run --suite {suite_file(SUITE)} --device cpu --workers 0 --set recipe.epochs=1"
    told = cli(f"{line} --budget 1.5h")
    assert told.code == 0
    first, second = told.out.splitlines()[:2]
    assert first == "--budget 1.5h leaves out 1 of 2 cells: digits seeds 1. It keeps 1, for about 81 min"
    assert second.startswith("1/1  digits ")
