"""What is counted of trainings and networks: the same on every machine, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from prunebench.nn.networks import small_cnn
from prunebench.nn.training import predict, train
from prunebench.parts import work
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.recipe import Recipe

# Of one gray image of 8 x 8: three convolutions, the image halved twice, then the head for four classes.
FORWARD = 64 * 16 * 9 + 16 * 32 * 16 * 9 + 4 * 64 * 32 * 9 + 64 * 4
RECIPE = Recipe(network="cnn", epochs=3, batch=16, evaluate_every=3)
NOTHING = {"steps": 0, "images": 0, "images_forward": 0, "multiply_adds": 0}
TRAINING = NOTHING | {"steps": 9, "images": 120, "multiply_adds": 120 * 3 * FORWARD}  # 40 images, thrice


def images(count=40):
    pixels = np.random.default_rng(0).integers(256, size=(count, 1, 8, 8), dtype=np.uint8)
    return Images(pixels, mean=(0.5,), std=(0.3,))


def trained(**more):
    return train(
        images(), np.arange(40) % 4, RECIPE, classes=4, rng=np.random.default_rng(0), device="cpu", **more
    )


def test_a_layer_by_hand():
    with work.passes() as passes, torch.no_grad():
        nn.Linear(5, 3)(torch.zeros(2, 5))
        nn.Conv2d(4, 6, 3, groups=2)(torch.zeros(2, 4, 5, 5))
    assert passes.multiply_adds == 2 * 5 * 3 + 2 * 6 * 9 * (2 * 9)


def test_a_pass_with_gradients_counts_three_times():
    network = small_cnn(1, 4)
    with work.passes() as passes:
        network(torch.zeros(2, 1, 8, 8))
    assert passes.multiply_adds == 3 * 2 * FORWARD


def test_a_training_and_its_test():
    with work.counted() as done:
        trained()
    assert done.values() == TRAINING
    with work.counted() as tested:
        trained(test=(images(10), np.zeros(10, np.int64)))
    assert tested.values() == TRAINING | {"images_forward": 10, "multiply_adds": (120 * 3 + 10) * FORWARD}
    with work.counted() as looked:
        predict(small_cnn(1, 4), images(), device="cpu")
    assert looked.values() == NOTHING | {"images_forward": 40, "multiply_adds": 40 * FORWARD}


class InterruptedHereError(Exception):
    pass


def test_a_resumed_training_counts_as_an_undisturbed_one(monkeypatch):
    def stop(done, total):
        if done == 7:
            raise InterruptedHereError

    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    memory = MemoryCheckpoint()
    with pytest.raises(InterruptedHereError):
        trained(checkpoint=memory, progress=stop)
    with work.counted() as done:
        trained(checkpoint=memory)
    assert done.values() == TRAINING


def test_without_a_count_nothing_is_counted():
    work.add(steps=1)
    work.multiplied(5)
    with work.counted() as done:
        pass
    assert done.values() == NOTHING
