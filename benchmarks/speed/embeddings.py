"""Probe and AUM on 200,000 embeddings of 768 numbers: seconds of each part, and the share of ten minutes.

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

CLASSES, WIDTH, LIMIT = 100, 768, 600.0


def main(images: int) -> None:
    """Make embeddings of overlapping classes, label, train a proxy of ten epochs, score; print each."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=images)
    centres = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    embeddings = rng.standard_normal((images, WIDTH), dtype=np.float32) * 6 + centres[truth]
    known = np.full(images, -1)
    paid = draw_labels(truth, 0.1, "uniform", rng)
    known[paid] = truth[paid]

    began = time.perf_counter()
    labels = Probe().label(embeddings, known)
    labelled = time.perf_counter()
    recipe = Recipe(network="mlp", epochs=10, batch=512, warmup=0.2)
    trained = train(
        Vectors(embeddings), labels.values, recipe, classes=CLASSES, rng=rng, device="cpu", record=True
    )
    proxied = time.perf_counter()
    assert trained.dynamics is not None
    scores = Aum().score(trained.dynamics)
    scored = time.perf_counter()

    wrong = labels.values != truth
    hardest = np.argsort(-scores)[: images // 10]
    print(f"{images} x {WIDTH}: probe {labelled - began:.1f} s, {wrong.mean():.1%} labelled wrong")
    print(f"proxy of {recipe.epochs} epochs {proxied - labelled:.1f} s, AUM {scored - proxied:.2f} s")
    print(f"of the hardest tenth {wrong[hardest].mean():.1%} are labelled wrong")
    print(f"in all {scored - began:.0f} s, {(scored - began) / LIMIT:.2f} of ten minutes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
