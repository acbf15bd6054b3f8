"""Score extrapolation on a few embeddings, from scores that are given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prunebench.parts.artefacts import Dynamics
from prunebench.parts.base import Scorer
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation

CLASSES = ("a", "b", "c")


@dataclass(frozen=True, kw_only=True)
class First(Scorer):
    """The recorded probability of the label, in the first epoch."""

    name = "first"

    def score(self, dynamics):
        return dynamics.label_probability[0].astype(float)


def record(images, index, scores):
    """Return dynamics in which `First` finds these scores of the images in `index`."""
    series = dict.fromkeys(Dynamics.series, np.array([scores], np.float32))
    return Dynamics(images=images, index=np.array(index), **series)


def extrapolate(
    part, embeddings, index, scores, *, labels=None, known_labels=None, seed=0, progress=None, device="cpu"
):
    """Return what `part` makes of the scores of a few images; by default the labels of these are 0."""
    part = replace(part, scorer=First())
    embeddings = np.asarray(embeddings, np.float32)
    if labels is None:
        labels = np.full(len(embeddings), -1)
        labels[index] = 0
    everything = {
        "dynamics": record(len(embeddings), index, scores),
        "embeddings": embeddings,
        "device": device,
        "classes": CLASSES,
        "labels": labels,
        "known_labels": labels if known_labels is None else known_labels,
        "rng": np.random.default_rng(seed),
        "progress": progress or (lambda _done, _total: None),
    }
    for value in everything.values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    return part.score(**{name: everything[name] for name in part.needs()})


def cloud(images=40, seeds=13, width=5, seed=0):
    """Return embeddings, the sorted places of a few scored images, and their scores."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(1, 1, (images, width)).astype(np.float32)
    return embeddings, np.sort(rng.permutation(images)[:seeds]), rng.random(seeds)


def short(**fields):
    """Return a graph network that is quickly trained."""
    settings = {"via": "gnn", "neighbors": 3, "hidden": (6, 4), "epochs": 3, "steps": 2, "lr": 0.05}
    return ScoreExtrapolation(**settings | fields)
