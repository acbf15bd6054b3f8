"""Seconds of each part of Probe and AUM on 200,000 embeddings of 768 numbers. The target is ten minutes.

python benchmarks/speed/embeddings.py [IMAGES]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from prunebench.nn.training import train
from prunebench.parts.images import Vectors
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import draw_labels
from prunebench_plugins.labelers.probe import Probe
from prunebench_plugins.scorers.aum import Aum

CLASSES, WIDTH = 100, 768
LIMIT = 600.0  # seconds


def main(images: int) -> None:
    """Label embeddings of overlapping classes, train a proxy for ten epochs, score, and print the times."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=images)
    centers = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    embeddings = rng.standard_normal((images, WIDTH), dtype=np.float32) * 6 + centers[truth]
    known_labels = np.full(images, -1)
    labeled = draw_labels(truth, 0.1, "uniform", rng)
    known_labels[labeled] = truth[labeled]

    begin = time.perf_counter()
    labels = Probe().label(embeddings, known_labels)
    after_probe = time.perf_counter()
    recipe = Recipe(network="mlp", epochs=10, batch=512, warmup=0.2)
    trained = train(
        Vectors(embeddings), labels.values, recipe, classes=CLASSES, rng=rng, device="cpu", record=True
    )
    after_proxy = time.perf_counter()
    assert trained.dynamics is not None
    scores = Aum().score(trained.dynamics)
    end = time.perf_counter()

    wrong = labels.values != truth
    hardest = np.argsort(-scores)[: images // 10]
    print(f"{images} x {WIDTH}: probe {after_probe - begin:.1f} s, {wrong.mean():.1%} labeled wrong")
    print(f"proxy of {recipe.epochs} epochs {after_proxy - after_probe:.1f} s, AUM {end - after_proxy:.2f} s")
    print(f"of the hardest tenth {wrong[hardest].mean():.1%} are labeled wrong")
    print(f"in all {end - begin:.0f} s, {(end - begin) / LIMIT:.2f} of ten minutes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
