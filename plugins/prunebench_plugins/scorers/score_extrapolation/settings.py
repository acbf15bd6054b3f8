"""The fields of score extrapolation, apart from the scorer so that its loop and graph can import them."""

from __future__ import annotations

from dataclasses import dataclass, field

from prunebench.errors import positive, require
from prunebench.parts.base import PROXY, Backbones, Scorer
from prunebench_plugins.scorers.dual import Dual

NEIGHBORS = {"gnn": 10, "knn": 20, "knn_weighted": 20}  # default of `neighbors`, by `via`
POSITIVE = ("training_epochs", "training_batch", "training_lr", "epochs", "steps", "lr", "inference_batch")


@dataclass(frozen=True, kw_only=True)
class ScoreExtrapolationSettings(Scorer):
    """How the scores of labeled images are extrapolated to all others.

    The network that gives the first scores:

    scorer: scorer of the labeled images. It reads dynamics and no embeddings.
    backbone: backbone of the embeddings. "proxy" = the features of the network that gives the scores.
    training: "recipe" = the proxy network, as the recipe trains it. "published" = another network, trained
        with Adam.
    training_epochs: epochs of the published training, above 0.
    training_batch: images per step of the published training, above 0.
    training_lr: constant learning rate of the published training, above 0.

    The neighbors:

    via: "gnn" predicts with a graph convolutional network on the graph of nearest neighbors. "knn" takes the
        mean score of the nearest scored images, "knn_weighted" the mean with weights exp(-distance).
    neighbors: number of neighbors, above 0. None = 10 for "gnn", 20 for the others.
    metric: ranks the neighbors, "euclidean" or "cosine".

    The graph network, for "gnn" alone:

    hidden: units of each hidden layer, above 0. A layer with one output follows.
    dropout: dropout rate after each hidden layer, in 0..1, below 1.
    epochs: epochs of Adam, above 0.
    steps: steps per epoch on all fitted images at once, above 0. Unused if `batch` is set.
    batch: images per mini-batch. An epoch is then one pass, as published. None = all images at once.
    standardize: shift and scale the scores to mean 0 and deviation 1 first. The published code does not.
    lr: learning rate of Adam, above 0.
    validation: share of the scored images held out, in 0..1, below 1. The epoch that agrees best with
        them counts.
    labels: true labels among the features of an image. "annotated" = those behind the scores, "none", or
        "all" = the label of every image, as published.
    inference: "full" = on the whole graph. "one_hop" = in batches, in order, that see themselves and their
        direct neighbors alone, as published.
    inference_batch: images per batch of "one_hop", above 0.
    """

    scorer: Scorer = field(default=Dual())
    backbone: Backbones = PROXY
    training: str = "recipe"
    training_epochs: int = 50
    training_batch: int = 256
    training_lr: float = 1e-3
    via: str = "gnn"
    neighbors: int | None = None
    metric: str = "euclidean"
    hidden: tuple[int, ...] = (512, 256)
    dropout: float = 0.5
    epochs: int = 35
    steps: int = 5
    batch: int | None = None
    standardize: bool = True
    lr: float = 1e-3
    validation: float = 0.1
    labels: str = "annotated"
    inference: str = "full"
    inference_batch: int = 1024

    def __post_init__(self) -> None:
        for name, choices in (
            ("training", ("recipe", "published")),
            ("via", tuple(NEIGHBORS)),
            ("metric", ("euclidean", "cosine")),
            ("labels", ("annotated", "all", "none")),
            ("inference", ("full", "one_hop")),
        ):
            value = getattr(self, name)
            require(value in choices, f"{self.name}.{name}", value, "one of " + ", ".join(choices))
        needs = self.scorer.needs()
        fits = "dynamics" in needs and "embeddings" not in needs
        require(fits, f"{self.name}.scorer", self.scorer.name, "a scorer of dynamics, without embeddings")
        for name in POSITIVE:
            positive(f"{self.name}.{name}", getattr(self, name))
        for name in ("neighbors", "batch"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{self.name}.{name}", value, "above 0, or unset")
        # The published network gives its features alone: they are not joined with other embeddings.
        joined = isinstance(self.backbone, tuple) and PROXY in self.backbone
        expected = "'proxy' alone, or other backbones, if training is 'published'"
        require(not (self.own_network and joined), f"{self.name}.backbone", self.backbone, expected)
        require(min(self.hidden, default=1) > 0, f"{self.name}.hidden", self.hidden, "sizes above 0")
        for name in ("dropout", "validation"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{self.name}.{name}", value, "in 0..1, below 1")

    @property
    def own_network(self) -> bool:
        """Whether the scorer trains a network itself instead of reading the recipe's proxy network."""
        return self.training == "published"
