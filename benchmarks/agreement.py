"""Does score extrapolation find the scores that a training on all labels would give?

    python benchmarks/agreement.py digits dual
    python benchmarks/agreement.py fashion_mnist_small dual dyn_unc

For each seed, the proxy network of the recipe `tiny` trains twice: on a labeled tenth of the images, and on
all images with their true labels. The scores of the first training are extrapolated to the other nine tenths.
There they are compared with the scores of the second training.

The table shows Spearman's rank correlation, mean ± standard deviation over seeds 0, 1, 2. The line "own"
compares the two trainings on the labeled tenth. Nothing is extrapolated there, so no extrapolation can undo
that loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from tabulate import tabulate

from prunebench.nn import training
from prunebench.parts import registry, seeds
from prunebench.parts.base import Scorer
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.sampling import draw_labels
from prunebench.suites import recipes
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation

SCORERS: dict[str, Scorer] = {"dual": Dual(), "dyn_unc": DynUnc()}
VARIANTS: dict[str, dict[str, Any]] = {  # fields of ScoreExtrapolation that differ from the defaults
    "gnn": {},
    "gnn, labels none": {"labels": "none"},
    "gnn, labels all": {"labels": "all"},
    "gnn, inference one_hop": {"inference": "one_hop"},
    "gnn, batch 128, raw scores": {"batch": 128, "standardize": False},
    "gnn, as published": {
        "training": "published",
        "batch": 128,
        "standardize": False,
        "inference": "one_hop",
    },
    "knn": {"via": "knn"},
    "knn_weighted": {"via": "knn_weighted"},
}


def agreements(name: str, seed: int, scorers: list[str]) -> dict[tuple[str, str], float]:
    """Return the rank correlations of one seed, in -1..1, by scorer and variant.

    name: of the dataset.
    scorers: names in SCORERS.
    """
    dataset = registry.load().dataset(name)
    array, truth = dataset.load(Path("data"), "train")
    truth = np.asarray(truth, int)
    images = Images(array, mean=dataset.mean, std=dataset.std)
    recipe, _ = recipes.recipe_for("tiny", dataset)
    index = draw_labels(truth, 0.1, "uniform", seeds.stream("known", seed))
    labels = np.full(len(truth), -1)
    labels[index] = truth[index]
    rest = np.flatnonzero(labels < 0)

    def train(index: np.ndarray | None) -> training.Trained:
        return training.train(
            images,
            truth,
            recipe,
            classes=len(dataset.classes),
            index=index,
            rng=seeds.stream("dynamics", seed),
            device="cpu",
            record=True,
        )

    few = train(index)
    everything = train(None)
    embeddings = training.embed(few.network, images, device="cpu")
    correlations = {}
    for name_of_scorer in scorers:
        scorer = SCORERS[name_of_scorer]
        expected = scorer.score(everything.dynamics)
        own = scorer.score(few.dynamics)
        correlations[name_of_scorer, "own"] = spearmanr(own, expected[index])[0]
        for variant, fields in VARIANTS.items():
            part = ScoreExtrapolation(scorer=scorer, **fields)
            inputs = {
                "dynamics": few.dynamics,
                "labels": labels,
                "known_labels": truth,
                "classes": dataset.classes,
                "embeddings": embeddings,
                "device": "cpu",
                "images": images,
                "recipe": recipe,
                "checkpoint": MemoryCheckpoint(),
                "rng": seeds.stream("scores", seed),
                "progress": lambda done, total: None,
            }
            scores = part.score(**{key: inputs[key] for key in part.needs()})
            correlations[name_of_scorer, variant] = spearmanr(scores[rest], expected[rest])[0]
    return correlations


def main() -> None:
    """Compare for each seed, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("scorers", nargs="+", choices=sorted(SCORERS))
    options = parser.parse_args()
    runs = [agreements(options.dataset, seed, options.scorers) for seed in range(3)]
    rows = []
    for scorer, variant in runs[0]:
        values = [run[scorer, variant] for run in runs]
        each = " ".join(f"{value:.3f}" for value in values)
        rows.append([scorer, variant, f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}", each])
    print(tabulate(rows, ["scorer", "", options.dataset, "each"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
