"""Steps that are recorded hold nothing of their training, whose memory is free once it is over."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from prunebench import Images, Recipe
from prunebench.nn import replay, training
from prunebench_plugins.backbones.swav import loop as swav
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.labelers.fixmatch import loop as fixmatch
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.temi import loop as temi
from prunebench_plugins.labelers.temi.part import Temi

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(256, size=(24, 3, 8, 8), dtype=np.uint8)
IMAGES = Images(PIXELS, mean=(0.5,) * 3, std=(0.25,) * 3)
LABELS = np.arange(24) % 3


def supervised():
    recipe = Recipe(network="cnn", epochs=9, batch=8)
    return training._Run(IMAGES, LABELS, np.arange(24), recipe, classes=3, rng=RNG, record=False)


def of_fixmatch():
    settings = FixMatch(network="cnn", batch=2, mu=2, epochs=9)
    known = np.where(np.arange(24) % 2, -1, LABELS)
    return fixmatch._Run(IMAGES, known, 3, settings, fixmatch.FixedThreshold(0.9), RNG)


def of_swav():
    settings = Swav(network="cnn", hidden=8, projection=4, batch=8, epochs=9, warmup_epochs=0, freeze_steps=0)
    return swav._Run(IMAGES, 3, settings, RNG)


def of_temi():
    settings = Temi(heads=2, hidden=5, bottleneck=4, neighbors=3, batch=8, freeze_epochs=0)
    return temi._Run(RNG.normal(size=(24, 6)), 3, settings, RNG, "cpu")


class Still:
    """Stands in for a CUDA graph, which keeps what was computed as it was recorded."""

    def __init__(self, step, order, numbers, generator):
        self.loss = step(order, *[0.0] * numbers)

    def __call__(self, order, *numbers):
        return self.loss


@pytest.mark.parametrize("begun", [supervised, of_fixmatch, of_swav, of_temi])
def test_a_training_that_is_over_holds_no_memory(monkeypatch, begun) -> None:
    """No garbage has to be collected for that: it may come late, and a GPU cannot wait."""
    monkeypatch.setattr(replay, "recordable", lambda device: True)
    monkeypatch.setattr(replay, "Replay", Still)
    run = begun()
    for _ in range(2 * replay.WARM):
        run.advance()
    assert run.made.replay is not None
    over = weakref.ref(run)
    gc.disable()
    try:
        del run
        assert over() is None
    finally:
        gc.enable()
