"""Further tests of a final network, right after its training: networks are not stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from prunebench.nn.corruptions import CHUNK_SIZE, Corruption, corruptions
from prunebench.parts.artefacts import Array, Exam
from prunebench.parts.images import Images
from prunebench.pipeline import calibration

NOISE_SEED = 0  # every network is tested on the same noise


def examine(tests: Sequence[str], logits: Callable[[Images], Array], images: Images, truth: Array) -> Exam:
    """Return what tests of a network found.

    tests: some of `prunebench.suites.exams.TESTS`.
    logits: returns those of the network for images, float32 [n, classes].
    images: the test images, or embeddings in their place.
    truth: the true classes of the test images, int [n].
    """
    shifted = _shifted(logits, images, truth) if "shift" in tests else {}
    if "calibration" not in tests:
        return Exam(shifted=shifted)
    values = calibration.log_probabilities(logits(images))
    measured = calibration.measure(values, truth)
    return Exam(shifted=shifted, calibration=measured, probabilities=np.exp(values).astype(np.float16))


def _shifted(logits: Callable[[Images], Array], images: Images, truth: Array) -> dict[str, float]:
    """Return the accuracy in percent under each corruption, without the mistakes of the published code."""
    functions = corruptions(np.random.default_rng(NOISE_SEED), fixed=True)
    return {name: _accuracy(logits, images, truth, corrupt) for name, corrupt in functions.items()}


def _accuracy(logits: Callable[[Images], Array], images: Images, truth: Array, corrupt: Corruption) -> float:
    """Return the accuracy in percent on corrupted images, of which only a few are in memory at a time."""
    correct = 0
    for start in range(0, len(images), CHUNK_SIZE):
        chunk = slice(start, start + CHUNK_SIZE)
        shifted = Images(corrupt(images.array[chunk]), mean=images.mean, std=images.std)
        correct += int((logits(shifted).argmax(axis=1) == truth[chunk]).sum())
    return 100 * correct / len(images)
