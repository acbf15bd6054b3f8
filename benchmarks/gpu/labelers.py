"""Steps of FixMatch, SwAV and TEMI, launched and recorded, beside their arithmetic floor.

A launched step starts each kernel from Python, a recorded one all of them as one CUDA graph. The floor is the
operations of a step at the rate of a large matrix product in the same precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.measure import Step, gflop, milliseconds, product_rates, timed, tried
from benchmarks.gpu.session import Session
from prunebench.nn.replay import Steps
from prunebench.parts.images import Images
from prunebench.parts.precision import arithmetic
from prunebench_plugins.backbones.swav import loop as swav_loop
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.labelers.fixmatch import loop as fixmatch_loop
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.temi import loop as temi_loop
from prunebench_plugins.labelers.temi.part import Temi

CLASSES = 10
EPOCH = 32  # steps
NEVER = 10**3  # epochs
RNG = np.random.default_rng(0)
Crops = tuple[tuple[int, float, float, float], ...]
WHOLE: Crops = ((2, 1.0, 0.08, 1.0),)
PHOTOS: Crops = ((2, 1.0, 0.14, 1.0), (6, 0.43, 0.05, 0.14))


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A network, the side of the stored images, and that of what it sees, in pixels."""

    network: str
    stored: int = 32
    side: int = 32


WIDE_2, WIDE_8 = Sight(network="wrn_28_2"), Sight(network="wrn_28_8")
SMALL_RESNET = Sight(network="resnet50_cifar")
RESNET = Sight(network="resnet50", stored=256, side=224)
TINY = Sight(network="cnn", stored=16, side=14)


@dataclass(frozen=True)
class Training:
    """A training to be timed.

    step: makes its next step. made: may record it. views: makes a batch of views, if anything does.
    """

    step: Step
    made: Steps
    views: Step | None = None


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the time of a step of each training, launched and then recorded."""
    rates = product_rates(session)
    for about, precision, make in trainings(session.rehearse):
        about = about | {"precision": precision}
        launched = tried(measured, make, precision, rates[precision], session)
        yield about | {"steps": "launched"} | launched
        recorded = tried(replayed, make, precision, session)
        if "ms" in launched and "ms" in recorded:
            recorded["times_as_fast"] = launched["ms"] / recorded["ms"]
        yield about | {"steps": "recorded"} | recorded


def trainings(rehearse: bool) -> Iterator[tuple[dict[str, Any], str, Callable[[], Training]]]:
    """Yield what describes each training, its precision, and what begins it."""
    fixmatches = ((TINY, 4, 2),) if rehearse else ((WIDE_2, 64, 7), (WIDE_8, 64, 7), (RESNET, 64, 1))
    for sight, batch, mu in fixmatches:
        about = {"finding": "fixmatch step", **vars(sight), "batch": batch, "mu": mu}
        yield about, "bf16", partial(fixmatch, sight, batch, mu)
    swavs = ((TINY, 4, PHOTOS),) if rehearse else ((SMALL_RESNET, 512, WHOLE), (RESNET, 256, PHOTOS))
    for sight, batch, crops in swavs:
        about = {"finding": "swav step", **vars(sight), "batch": batch, "crops": crops}
        yield about, "bf16", partial(swav, sight, batch, crops)
    images, width = (80, 8) if rehearse else (50_000, 768)
    settings = Temi(epochs=NEVER, heads=2, hidden=8) if rehearse else Temi(epochs=NEVER)
    about = {"finding": "temi step", "images": images, "width": width, "batch": settings.batch}
    yield about | {"heads": settings.heads}, "fp32", partial(temi, images, width, settings)


def measured(make: Callable[[], Training], precision: str, rate: float, session: Session) -> dict[str, Any]:
    """Return the time of a launched step and of its views, beside the arithmetic floor.

    rate: of a large matrix product, in TFLOP/s.
    """
    training = make()
    training.made.recordable = False
    found = timed(lambda: training.step, precision, session)
    with arithmetic(precision):
        found["times_the_arithmetic_floor"] = found["ms"] * rate / gflop(training.step)
        if training.views:
            found["views_ms"] = milliseconds(training.views, session)
    return found


def replayed(make: Callable[[], Training], precision: str, session: Session) -> dict[str, Any]:
    """Return the time of a recorded step, and whether it was one."""
    training = make()
    found = timed(lambda: training.step, precision, session)
    return found | {"graph": training.made.replay is not None}


def noise(number: int, side: int) -> Images:
    """Return random images for the GPU."""
    pixels = RNG.integers(256, size=(number, 3, side, side), dtype=np.uint8)
    return Images(pixels, mean=(0.5,) * 3, std=(0.25,) * 3, device="cuda")


def fixmatch(sight: Sight, batch: int, mu: int) -> Training:
    """Begin FixMatch. A quarter of the images is annotated."""
    images = noise(EPOCH * batch * mu, sight.stored)
    labels = np.where(np.arange(len(images)) % 4, -1, RNG.integers(CLASSES, size=len(images)))
    settings = FixMatch(network=sight.network, batch=batch, mu=mu, epochs=NEVER, precision="bf16")
    rule = fixmatch_loop.FixedThreshold(settings.threshold)
    run = fixmatch_loop._Run(images, labels, CLASSES, settings, rule, RNG, sight.side)
    pixels = images[: batch + batch * mu]
    return Training(run.advance, run.made, lambda: run.views(pixels, batch * mu))


def swav(sight: Sight, batch: int, crops: Crops) -> Training:
    """Begin SwAV."""
    images = noise(EPOCH * batch, sight.stored)
    settings = Swav(
        network=sight.network, crops=crops, batch=batch, epochs=NEVER, freeze_steps=0, precision="bf16"
    )
    run = swav_loop._Run(images, 3 * CLASSES, settings, RNG, sight.side)
    pixels = images[:batch]
    return Training(run.advance, run.made, lambda: run.groups(pixels))


def temi(images: int, width: int, settings: Temi) -> Training:
    """Begin TEMI, of which a step is a batch."""
    embeddings = RNG.standard_normal((images, width), dtype=np.float32)
    run = temi_loop._Run(embeddings, CLASSES, settings, RNG, "cuda")
    index = torch.randperm(images, device="cuda")[: run.batch]
    batches = count(settings.freeze_epochs * run.batches)  # after the last layer has rested
    return Training(lambda: run.learn(index, next(batches)), run.made)
