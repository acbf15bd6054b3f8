"""What trainings are said to take: their steps, each with a part that stays and one that grows."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from prunebench.nn import training
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.step_times import StepTimes, as_in_a_worker

RECIPE = Recipe(network="cnn", epochs=3, batch=64)
SHAPE = {"channels": 1, "resolution": 8, "classes": 3}
SCRATCH = SimpleNamespace(identity={}, body=None)


@pytest.fixture
def timed(monkeypatch):
    """The batches that were timed. A step takes 10 s, and 1 s for each image."""
    batches = []

    def seconds(recipe, *, body, device, **shape):
        batches.append(recipe.batch)
        return 10.0 + recipe.batch

    monkeypatch.setattr(training, "seconds_per_step", seconds)
    return batches


@pytest.mark.parametrize(
    ("changes", "images", "seconds"),
    [
        ({}, 256, 3 * 4 * (10 + 64)),
        ({}, 40, 3 * (10 + 40)),  # a batch that is never full
        ({}, 96, 3 * 2 * (10 + 48)),  # one that is full, and one that is not
        ({"batch": 8}, 24, 3 * 3 * (10 + 8)),  # below the small step
        ({"iterations": 5}, 256, 5 * (10 + 64)),
        ({"iterations": 5}, 40, 5 * (10 + 40)),
    ],
)
def test_a_training_takes_its_steps_on_as_many_images_as_they_see(timed, changes, images, seconds):
    recipe = replace(RECIPE, **changes)
    assert StepTimes("cpu").training(SCRATCH, recipe, images, **SHAPE) == pytest.approx(seconds)


def test_steps_that_are_alike_are_timed_once(timed):
    times = StepTimes("cpu")
    longer = replace(RECIPE, epochs=9, iterations=7, shrink_batch=False, proxy_backbone="pixels")
    for recipe in (RECIPE, longer):
        times.training(SCRATCH, recipe, 100, **SHAPE)
    assert timed == [16, 64]


@pytest.mark.parametrize(
    ("stage", "changes", "shape"),
    [
        (SimpleNamespace(identity={"backbone": {"part": "timm"}}, body=None), {}, {}),
        (SCRATCH, {"network": "mlp"}, {}),
        (SCRATCH, {"side": 4, "resized_crop": (0.5, 1.0)}, {}),
        (SCRATCH, {}, {"resolution": 16}),
    ],
)
def test_steps_that_differ_are_timed_each(timed, stage, changes, shape):
    times = StepTimes("cpu")
    times.training(SCRATCH, RECIPE, 100, **SHAPE)
    times.training(stage, replace(RECIPE, **changes), 100, **SHAPE | shape)
    assert timed == [16, 64, 16, 64]


def test_a_probe_that_fails_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), as_in_a_worker():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
