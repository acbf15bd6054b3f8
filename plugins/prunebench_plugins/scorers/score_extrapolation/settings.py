"""The fields of score extrapolation, which its network and its graph read."""

from __future__ import annotations

from dataclasses import dataclass, field

from prunebench.errors import require
from prunebench.parts.base import PROXY, Backbones, Scorer
from prunebench_plugins.scorers.dual import Dual

NEIGHBOURS = {"gnn": 10, "knn": 20, "knn_weighted": 20}  # by the field `via`, where `neighbours` is unset
POSITIVE = ("training_epochs", "training_batch", "training_lr", "epochs", "steps", "lr", "inference_batch")


@dataclass(frozen=True, kw_only=True)
class ScoreExtrapolationSettings(Scorer):
    """How scores are carried over.

    training: of that network. "recipe": the proxy network, as the recipe trains it. "published": another,
    by Adam at the constant rate `training_lr` in `training_epochs` epochs of batches of `training_batch`.
    Where `backbone` is "proxy" images are neighbours by the features of that network.

    via: "gnn" predicts with a graph convolutional network on the graph of nearest neighbours; "knn"
    takes the mean score of the nearest images that have one, "knn_weighted" the mean with weights
    exp(-distance). neighbours: how many; unset, 10 for "gnn" and 20 for the others. metric: by which
    they are nearest, "euclidean" or "cosine".

    The rest is for "gnn" alone. Layers of `hidden` units, then one; `dropout` after each but the last.
    Adam with learning rate `lr` makes `epochs` times `steps` steps on all fitted images at once; with a
    `batch`, as published, an epoch is one pass in mini-batches of so many, and `steps` does not count.
    standardise: scores are learned with mean 0 and deviation 1; without, as published, as they are. The share
    `validation` of the scored images is held out, and the epoch that agrees best with it counts. labels:
    which true labels are part of an image's features: "paid", those that the scores rest on;
    "none"; or "all", as published, which takes the label of every image. inference: "full", on the whole
    graph; or "one_hop", as published: each batch of `inference_batch` images in order sees itself and its
    direct neighbours alone.
    """

    scorer: Scorer = field(default=Dual())
    backbone: Backbones = PROXY
    training: str = "recipe"
    training_epochs: int = 50
    training_batch: int = 256
    training_lr: float = 1e-3
    via: str = "gnn"
    neighbours: int | None = None
    metric: str = "euclidean"
    hidden: tuple[int, ...] = (512, 256)
    dropout: float = 0.5
    epochs: int = 35
    steps: int = 5
    batch: int | None = None
    standardise: bool = True
    lr: float = 1e-3
    validation: float = 0.1
    labels: str = "paid"
    inference: str = "full"
    inference_batch: int = 1024

    def __post_init__(self) -> None:
        for name, known in (
            ("training", ("recipe", "published")),
            ("via", tuple(NEIGHBOURS)),
            ("metric", ("euclidean", "cosine")),
            ("labels", ("paid", "all", "none")),
            ("inference", ("full", "one_hop")),
        ):
            value = getattr(self, name)
            require(value in known, f"{self.name}.{name}", value, "one of " + ", ".join(known))
        needs = self.scorer.needs()
        watches = "dynamics" in needs and "embeddings" not in needs
        require(watches, f"{self.name}.scorer", self.scorer.name, "a scorer of dynamics, without embeddings")
        for name in POSITIVE:
            require(getattr(self, name) > 0, f"{self.name}.{name}", getattr(self, name), "above 0")
        for name in ("neighbours", "batch"):
            counts = getattr(self, name) is None or getattr(self, name) > 0
            require(counts, f"{self.name}.{name}", getattr(self, name), "above 0, or unset")
        apart = not (self.own_network and isinstance(self.backbone, tuple) and PROXY in self.backbone)
        expected = "'proxy' alone, or others, where training is 'published'"
        require(apart, f"{self.name}.backbone", self.backbone, expected)
        require(min(self.hidden, default=1) > 0, f"{self.name}.hidden", self.hidden, "sizes above 0")
        for name in ("dropout", "validation"):
            below = 0 <= getattr(self, name) < 1
            require(below, f"{self.name}.{name}", getattr(self, name), "in 0..1, below 1")

    @property
    def own_network(self) -> bool:
        """Whether a network is trained here, instead of the proxy network of the recipe."""
        return self.training == "published"
